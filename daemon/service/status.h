/* SPDX-License-Identifier: MIT
 *
 * What an error code is called on the wire, and back: one table for both directions.
 *
 * Pure; any thread.
 */
#pragma once

/* The ttrpc status of a negative errno; one that is not in the table is INTERNAL. 0 is OK. */
int status_of(int error);
/* The negative errno of a ttrpc status: the first row that has it. */
int status_errno(int code);
