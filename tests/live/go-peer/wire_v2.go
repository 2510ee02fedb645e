// SPDX-License-Identifier: MIT

//go:build !gogo

package main

import "google.golang.org/protobuf/runtime/protoimpl"

// ttrpc from 1.2 on takes the newer kind of messages alone; these are wrapped to be one.
func wire(m message) interface{} { return protoimpl.X.ProtoMessageV2Of(m) }
