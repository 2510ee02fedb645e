/* SPDX-License-Identifier: MIT
 *
 * The real service on scripted models (tests/unit/fake_models.h): what the prober is run against
 * when a real model would be slow or could not do as it is told. Usage: fake_moed SOCKET
 *
 * Timeouts and the room of sessions are a fraction of the real ones, so that tests of them end;
 * FAKE_LOAD_MS is how long a load takes. SIGTERM drains.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <uv.h>

#include "engine/models.h"
#include "fake_models.h"
#include "service/service.h"

static struct service *service;
static uv_signal_t on_term;
static uv_async_t woken; /* outlives the service, as the engines do */

static void on_woken(uv_async_t *async)
{
    (void)async;
    if (service)
        service_wake(service);
}

static void on_changed(void *arg)
{
    (void)arg;
    uv_async_send(&woken);
}

static void on_drained(void *arg)
{
    (void)arg;
    service_close(service);
    service = NULL;
    uv_unref((uv_handle_t *)&woken);
    uv_close((uv_handle_t *)&on_term, NULL);
}

static void on_signal(uv_signal_t *handle, int number)
{
    static int n;
    (void)handle;
    (void)number;
    service_drain(service, n++ == 0 ? 2000 : 0, on_drained, NULL);
}

int main(int argc, char **argv)
{
    struct service_config config;
    struct models *models = NULL;
    struct err err = {0};
    uv_loop_t loop;
    if (argc != 2)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&loop);
    uv_async_init(&loop, &woken, on_woken);
    service_config_init(&config);
    config.first_request_ms = config.progress_ms = 1000;
    config.slow_reader_ms = 1500;
    config.frame_ms = 3000;
    config.write_stall_ms = 6000;
    config.session_bytes_uid = 8 << 20;
    const char *load_ms = getenv("FAKE_LOAD_MS");
    fake_set_load_ms(load_ms ? atoi(load_ms) : 0);
    if (service_new(&loop, &config, &service, &err) < 0 ||
        models_new(NULL, on_changed, NULL, &models, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (service_start(service, models, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    models_load(models, models_at(models, 0), &err);
    models_load(models, models_at(models, 1), &err);
    if (service_listen_path(service, argv[1], &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    uv_signal_init(&loop, &on_term);
    uv_signal_start(&on_term, on_signal, SIGTERM);
    uv_run(&loop, UV_RUN_DEFAULT);
    models_free(models);
    uv_close((uv_handle_t *)&woken, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    int leaked = fake_n_requests() != 0 || uv_loop_close(&loop) != 0;
    if (leaked)
        fprintf(stderr, "%d requests are still held\n", fake_n_requests());
    return leaked;
}
