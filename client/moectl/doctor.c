/* SPDX-License-Identifier: MIT
 *
 * doctor: what stands in moed's way on this machine, and what to do about it. One thread.
 *
 * Looks at what everybody may read: /proc, /sys, the socket. What a control group or a unit hides
 * from us is not judged.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "moectl/link.h"
#include "moectl/screen.h"
#include "moectl/verb.h"

#define MODELS "/var/lib/moed/models"
enum level { LEVEL_OK, LEVEL_NOTE, LEVEL_FAULT };
static const char *const level_names[] = {"ok", "note", "fault"};

struct visit {
    json_t *findings;
    enum level worst;
};

/* `fix` is "" where nothing needs one. */
static void find(struct visit *v, enum level level, const char *name, const char *fix,
                 const char *fmt, ...) __attribute__((format(printf, 5, 6)));
static void find(struct visit *v, enum level level, const char *name, const char *fix,
                 const char *fmt, ...)
{
    char words[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    json_t *finding = json_object();
    json_object_set_new(finding, "name", screen_json_word(name));
    json_object_set_new(finding, "level", screen_json_word(level_names[level]));
    json_object_set_new(finding, "found", screen_json_word(words));
    json_object_set_new(finding, "fix", screen_json_word(fix));
    json_array_append_new(v->findings, finding);
    v->worst = level > v->worst ? level : v->worst;
}

/* The beginning of a file; false: it cannot be read. */
static bool slurp(const char *path, char *dst, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    dst[fread(dst, 1, size - 1, file)] = '\0';
    fclose(file);
    return true;
}

/* The number behind "Key:" of a file like /proc/meminfo; 0: there is none. */
static uint64_t number_of(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* ---- the machine */
static void look_at_memory(struct visit *v)
{
    char text[8192], all[32], room[32];
    if (!slurp("/proc/meminfo", text, sizeof text))
        return;
    find(v, LEVEL_OK, "memory", "", "%s, %s available",
         screen_bytes(all, sizeof all, number_of(text, "MemTotal:") * 1024),
         screen_bytes(room, sizeof room, number_of(text, "MemAvailable:") * 1024));
    uint64_t pages = number_of(text, "HugePages_Total:");
    if (pages == 0)
        find(v, LEVEL_NOTE, "huge pages",
             "as root: moectl config set HugePages 20G, or what the models need; "
             "systemctl enable --now moed-hugepages",
             "none are set aside; weights lie in small pages, which a restart maps slowly");
    else
        find(v, LEVEL_OK, "huge pages", "", "%" PRIu64 " of %" PRIu64 " kB, %" PRIu64 " free",
             pages, number_of(text, "Hugepagesize:"), number_of(text, "HugePages_Free:"));
}

static bool has_flag(const char *flags, const char *flag)
{
    size_t n = strlen(flag);
    for (const char *at = flags; (at = strstr(at, flag)); at += n)
        if (at[-1] == ' ' && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

static void look_at_processor(struct visit *v)
{
    static const char *const used[] = {"avx2",     "fma",         "f16c",
                                       "avx512f",  "avx512_vnni", "avx512_bf16",
                                       "amx_tile", "amx_int8",    "amx_bf16"};
    char text[16384], found[160] = "";
    if (!slurp("/proc/cpuinfo", text, sizeof text))
        return;
    char *flags = strstr(text, "\nflags");
    if (!flags)
        return; /* another kind of processor, which plain C is for */
    flags[1 + strcspn(flags + 1, "\n")] = '\0';
    for (size_t i = 0; i < sizeof used / sizeof *used; i++)
        if (has_flag(flags, used[i]))
            snprintf(found + strlen(found), sizeof found - strlen(found), " %s", used[i]);
    if (!has_flag(flags, "avx2") || !has_flag(flags, "fma"))
        find(v, LEVEL_FAULT, "processor",
             "a virtual machine may hide them: pass the host's processor",
             "neither AVX2 nor better is here: answers are many times slower");
    else if (has_flag(flags, "avx512f") && !has_flag(flags, "avx512_vnni"))
        find(v, LEVEL_NOTE, "processor", "none on this machine: AVX2 is used instead",
             "AVX-512 is not used, for it lacks VNNI; used:%s", found);
    else
        find(v, LEVEL_OK, "processor", "", "used:%s", found);
}

static void look_at_nodes(struct visit *v)
{
    char text[256];
    if (!slurp("/sys/devices/system/node/online", text, sizeof text))
        return;
    text[strcspn(text, "\n")] = '\0';
    find(v, LEVEL_OK, "nodes", "", "memory is on node %s", text);
}

static void look_at_disk(struct visit *v)
{
    struct statvfs fs;
    char room[32];
    if (statvfs(MODELS, &fs) < 0) {
        find(v, LEVEL_NOTE, "models", "start the service once, or name folders by Folder=",
             "there is no " MODELS " to put models into");
        return;
    }
    uint64_t bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    screen_bytes(room, sizeof room, bytes);
    if (bytes < 1ull << 30)
        find(v, LEVEL_FAULT, "disk", "make room there", "%s are free for " MODELS, room);
    else
        find(v, LEVEL_OK, "disk", "", "%s are free for " MODELS, room);
}

/* ---- the daemon */
static void look_at_socket(struct visit *v, const struct options *o)
{
    OWN(moed) *moed = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = moed_open(o->socket, &moed, &error);
    if (r == 0)
        r = moed_hello(moed, "moectl " MOED_VERSION, &call, &error);
    if (r == 0)
        r = moed_wait(call, &error);
    if (r == 0) {
        const struct moed_hello_info *hello = moed_call_hello(call);
        bool is_same = strcmp(hello->version, MOED_VERSION) == 0;
        find(v, is_same ? LEVEL_OK : LEVEL_NOTE, "socket", is_same ? "" : "systemctl restart moed",
             "moed %s answers on %s", hello->version, moed_socket(moed));
        return;
    }
    const char *fix = "systemctl enable --now moed.socket, or moed --model FILE";
    if (r == -EACCES)
        fix = "as root: adduser USER moed; then log in again";
    else if (error.status == MOED_PERMISSION_DENIED)
        fix = "an administrator decides, by Allow= and Deny= of moed.conf";
    find(v, LEVEL_FAULT, "socket", fix, "%s", error.message);
}

/* The limit that a control group sets, by its file; "max" is none. */
static void look_at_group(struct visit *v, const char *process)
{
    char path[512], text[4096], all[32];
    snprintf(path, sizeof path, "/proc/%s/cgroup", process);
    if (!slurp(path, text, sizeof text) || strncmp(text, "0::", 3) != 0)
        return; /* not of the second kind */
    text[strcspn(text, "\n")] = '\0';
    snprintf(path, sizeof path, "/sys/fs/cgroup%.400s/memory.max", text + 3);
    if (!slurp(path, text, sizeof text) || strncmp(text, "max", 3) == 0)
        return;
    find(v, LEVEL_NOTE, "control group",
         "MemoryMax= of the unit or its slice, if that is too little", "moed may use %s of memory",
         screen_bytes(all, sizeof all, strtoull(text, NULL, 10)));
}

/* The soft limit, as the kernel words it: "8388608", "unlimited"; "" if nobody tells. */
static void read_memlock(const char *process, char *dst, size_t size)
{
    static const char key[] = "\nMax locked memory";
    char path[300], text[4096];
    snprintf(path, sizeof path, "/proc/%s/limits", process);
    const char *at = slurp(path, text, sizeof text) ? strstr(text, key) : NULL;
    at = at ? at + strlen(key) + strspn(at + strlen(key), " ") : "";
    snprintf(dst, size, "%.*s", (int)strcspn(at, " \n"), at);
}

/* Weights are not locked: they are too large for what a limit mostly is, and huge pages are never
 * swapped. Of `status`, the process's, comes what is swapped out of it. */
static void look_at_memlock(struct visit *v, const char *process, const char *status)
{
    static const char fix[] = "huge pages are never swapped: as root moectl config set HugePages "
                              "20G, or what the models need; or systemctl edit moed, and there "
                              "[Service] MemorySwapMax=0";
    char text[8192], limit[32], out[32], swap[32];
    read_memlock(process, limit, sizeof limit);
    if (!*limit || !slurp("/proc/meminfo", text, sizeof text))
        return;
    uint64_t swap_bytes = number_of(text, "SwapTotal:") * 1024;
    uint64_t out_bytes = number_of(status, "\nVmSwap:") * 1024;
    screen_bytes(swap, sizeof swap, swap_bytes);
    if (out_bytes > 0)
        find(v, LEVEL_FAULT, "memlock", fix, "%s of moed, process %s, are swapped out",
             screen_bytes(out, sizeof out, out_bytes), process);
    else if (swap_bytes > 0 && number_of(text, "HugePages_Total:") == 0)
        find(v, LEVEL_NOTE, "memlock", fix,
             "moed, process %s, may be swapped out, to %s of swap; it may lock %s bytes and locks "
             "none",
             process, swap, limit);
    else
        find(v, LEVEL_OK, "memlock", "", "moed, process %s, may lock %s bytes and need not: %s",
             process, limit,
             swap_bytes > 0 ? "its weights go into huge pages" : "there is no swap");
}

static void look_at_process(struct visit *v, const char *process)
{
    char path[300], text[8192];
    snprintf(path, sizeof path, "/proc/%s/status", process);
    if (!slurp(path, text, sizeof text))
        return;
    if (number_of(text, "\nSeccomp:") == 0 || number_of(text, "\nNoNewPrivs:") == 0)
        find(v, LEVEL_NOTE, "sandbox", "let systemd start it: systemctl start moed",
             "moed, process %s, runs with all rights of its user", process);
    else
        find(v, LEVEL_OK, "sandbox", "", "moed, process %s, runs in one", process);
    look_at_memlock(v, process, text);
    look_at_group(v, process);
}

static void look_for_processes(struct visit *v)
{
    DIR *dir = opendir("/proc");
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[300], name[32];
        if (entry->d_name[strspn(entry->d_name, "0123456789")])
            continue;
        snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
        if (slurp(path, name, sizeof name) && strcmp(name, "moed\n") == 0)
            look_at_process(v, entry->d_name);
    }
    if (dir)
        closedir(dir);
}

static void print(const struct visit *v)
{
    size_t i;
    json_t *finding;
    json_array_foreach(v->findings, i, finding)
    {
        const char *fix = json_string_value(json_object_get(finding, "fix"));
        screen_cell(json_string_value(json_object_get(finding, "level")), 5);
        screen_cell(json_string_value(json_object_get(finding, "name")), 13);
        screen_word(stdout, json_string_value(json_object_get(finding, "found")));
        putchar('\n');
        if (!*fix)
            continue;
        fputs("       what to do:    ", stdout);
        screen_word(stdout, fix);
        putchar('\n');
    }
}

int verb_doctor(const struct options *o)
{
    struct visit v = {.findings = json_array()};
    look_at_socket(&v, o);
    look_for_processes(&v);
    look_at_processor(&v);
    look_at_memory(&v);
    look_at_nodes(&v);
    look_at_disk(&v);
    if (o->json)
        screen_json(json_pack("{s:O}", "findings", v.findings));
    else
        print(&v);
    json_decref(v.findings);
    return v.worst == LEVEL_FAULT ? EXIT_FAILED : EXIT_DONE;
}
