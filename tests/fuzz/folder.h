/* SPDX-License-Identifier: MIT
 *
 * A folder in memory, whose files a target writes anew for every input. It is made when it is
 * first asked for and goes with the process. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

const char *folder_path(void);
/* `name` is kept, not copied. A file that the last input wrote as well is written over. */
void folder_write(const char *name, const uint8_t *data, size_t bytes);
/* Removes the files that this input did not write; what comes is the next input's. */
void folder_settle(void);
