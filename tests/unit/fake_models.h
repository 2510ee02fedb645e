/* SPDX-License-Identifier: MIT
 *
 * What tests may ask of the fake models beyond models.h and engine.h.
 *
 * Four models: "fake" chats and generates; "plain" generates and has no chat family; "words" is a
 * vocabulary only; "broken" fails to load. Tokens are bytes, 256 … 259 are <bos>, <eos>, <think>
 * and </think>. A generation echoes its prompt and ends, but for prompts that begin with a word:
 * "!hang" says nothing until cancelled, "!error" fails after three tokens, "!flood" goes on for
 * ever, "!busy" is refused by a full queue for 7 s, "!slow" takes 20 ms a token. Every embedding is
 * 3, 4.
 */
#pragma once

#include <stdint.h>

/* How long the next loads take. */
void fake_set_load_ms(int ms);
/* Requests whose memory the fake engines hold: 0 when everything was given back. */
int fake_n_requests(void);
/* Calls that are paused now. */
int fake_n_paused(void);
