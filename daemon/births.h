/* SPDX-License-Identifier: MIT
 *
 * How often the daemon was born lately without having ended as it was told to: a file in its state
 * folder that each birth writes to and a good end removes.
 *
 * Loop thread. Times are those since the machine was booted; of another boot none counts.
 */
#pragma once

enum { BIRTHS_WINDOW_S = 120 }; /* what is longer ago is no reason for anything */

/* Notes a birth. Returns how many there were in the window before it that did not end well; 0 where
 * the folder cannot be written to: who cannot count does not act. */
int births_note(const char *folder);
/* The end was asked for, or is a failure that comes again whatever we do. */
void births_forget(const char *folder);
