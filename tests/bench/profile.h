/* SPDX-License-Identifier: MIT
 *
 * Where the time of steps goes: phases of ops, added up by name, and as Chrome's trace events.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct profile;

/* `trace`: a file for the events, or NULL; exits with words if it cannot be written. */
struct profile *profile_new(bool table, const char *trace);
void profile_free(struct profile *profile);

/* A test begins; at its end the table goes to `to`, if there is to be one. */
void profile_begin(struct profile *profile, const char *test, int tokens, int depth, int sequences);
void profile_end(struct profile *profile, FILE *to);

/* For place->trace. */
void profile_phase(void *profile, const char *what, uint64_t start_ns, uint64_t end_ns);
