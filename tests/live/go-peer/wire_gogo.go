// SPDX-License-Identifier: MIT

//go:build gogo

package main

// ttrpc up to 1.1 takes messages as they are.
func wire(m message) interface{} { return m }
