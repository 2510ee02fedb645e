/* SPDX-License-Identifier: MIT
 *
 * What moed says of its options: on a terminal, as a manual page, as completions. Main thread,
 * before anything else starts.
 */
#pragma once

/* On stdout, in one of PAPER_FORMS or, for NULL, as text; -EINVAL: there is no such form. */
int help_print(const char *form);
