/* SPDX-License-Identifier: MIT
 *
 * Reload. Loop thread; the work is that of who owns the configuration.
 */
#include "moed/v1/admin.pb-c.h"
#include "service/call.h"
#include "service/hub.h"
#include "service/method.h"
#include "service/status.h"

void method_reload(struct call *call, struct payload *payload)
{
    Moed__V1__ReloadRequest *request =
        call_unpack(call, &moed__v1__reload_request__descriptor, payload);
    if (!request)
        return;
    moed__v1__reload_request__free_unpacked(request, NULL);

    const struct service_config *config = &call->hub->config;
    struct service_reloaded done = {0};
    struct err err = {0};
    if (!config->reload) {
        call_fail(call, TTRPC_UNIMPLEMENTED, "this daemon has no configuration to reload");
        return;
    }
    int r = config->reload(config->arg, &done, &err);
    if (r < 0) {
        call_fail(call, r == -EINVAL ? TTRPC_FAILED_PRECONDITION : status_of(r),
                  "the configuration stays as it was: %s", err.text);
        return;
    }
    Moed__V1__ReloadResponse response = MOED__V1__RELOAD_RESPONSE__INIT;
    response.now = (char **)done.now;
    response.n_now = (size_t)done.n_now;
    response.later = (char **)done.later;
    response.n_later = (size_t)done.n_later;
    response.restart = (char **)done.restart;
    response.n_restart = (size_t)done.n_restart;
    call_reply(call, &response.base);
}
