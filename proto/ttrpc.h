/* SPDX-License-Identifier: MIT
 *
 * The ttrpc 1.2 frame codec: bytes in, frames out; no socket, so it is easy to test and to fuzz.
 */
#pragma once
