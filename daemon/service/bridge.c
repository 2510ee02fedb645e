/* SPDX-License-Identifier: MIT
 *
 * Draining the engines' rings. Loop thread.
 *
 * A wake says only that there is something, so rings are always emptied, but for a bound that lets
 * the sockets have their turn.
 */
#include "service/bridge.h"

#include "engine/models.h"
#include "service/care.h"
#include "service/embedding.h"
#include "service/generation.h"
#include "service/hub.h"

enum { TURN_EVENTS = 2048 }; /* of one engine in one loop turn */

bool bridge_poll(struct hub *hub)
{
    bool is_more = false;
    for (int i = 0; i < hub->n_uses; i++) {
        struct engine *engine = models_at(hub->models, i)->engine;
        if (!engine)
            continue;
        struct engine_event ev;
        int n = 0;
        while (n < TURN_EVENTS && engine_poll(engine, &ev)) {
            if (!generation_event(hub, engine, &ev)) {
                embedding_event(hub, engine, &ev);
                care_event(hub, engine, &ev);
            }
            n++;
        }
        is_more |= n == TURN_EVENTS;
    }
    return is_more;
}

void bridge_forget(struct hub *hub)
{
    generation_forget_all(hub);
    embedding_forget_all(hub);
    care_forget_all(hub);
}
