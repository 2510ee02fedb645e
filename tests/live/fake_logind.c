/* SPDX-License-Identifier: MIT
 *
 * A logind for a test's bus, and no machine to put to sleep:  fake_logind ADDRESS DELAY_MS
 *
 * A line "sleep" or "wake" on stdin has it say so; it prints "held" and "released" when the lock
 * that a daemon took changes. Ends with its stdin.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fixture/privatebus.h"

int main(int argc, char **argv)
{
    struct privatebus bus = {0};
    struct logind logind;
    char line[16];
    bool was_held = false;
    if (argc != 3)
        return 2;
    snprintf(bus.address, sizeof bus.address, "%s", argv[1]);
    setvbuf(stdin, NULL, _IONBF, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    logind_open(&logind, &bus, strtoull(argv[2], NULL, 10) * 1000);
    puts("here");
    for (;;) {
        struct pollfd fds[2] = {{.fd = 0, .events = POLLIN},
                                {.fd = sd_bus_get_fd(logind.bus), .events = POLLIN}};
        poll(fds, 2, 5);
        if (fds[0].revents) {
            if (!fgets(line, sizeof line, stdin))
                break;
            logind_prepare(&logind, strcmp(line, "sleep\n") == 0);
        }
        while (sd_bus_process(logind.bus, NULL) > 0)
            ;
        bool is_held = logind_is_held(&logind);
        if (is_held != was_held)
            puts(is_held ? "held" : "released");
        was_held = is_held;
    }
    logind_close(&logind);
    return 0;
}
