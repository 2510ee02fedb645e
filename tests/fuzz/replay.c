/* SPDX-License-Identifier: MIT
 *
 * Runs a fuzz target over given inputs, without a fuzzer: files, or all files of a directory.
 * Built by any compiler, so seeds and found inputs are tests of every build.
 *
 *     fuzz_gguf FILE|DIRECTORY...
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target.h"

static int n_inputs;

static int replay_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        fprintf(stderr, "cannot open %s: %s\n", path, strerror(errno));
        return 1;
    }
    size_t bytes = (size_t)st.st_size;
    uint8_t *data = malloc(bytes); /* exactly so many, for the address sanitizer's sake */
    if (bytes && (!data || read(fd, data, bytes) != (ssize_t)bytes)) {
        fprintf(stderr, "cannot read %s\n", path);
        return 1;
    }
    close(fd);
    printf("%s\n", path); /* before the run: the last line names the input that crashed */
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, bytes);
    free(data);
    n_inputs++;
    return 0;
}

static int replay_directory(const char *path)
{
    struct dirent **entry;
    int n = scandir(path, &entry, NULL, alphasort);
    if (n < 0) {
        fprintf(stderr, "cannot list %s: %s\n", path, strerror(errno));
        return 1;
    }
    int failed = 0;
    for (int i = 0; i < n; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, entry[i]->d_name);
        if (entry[i]->d_name[0] != '.')
            failed |= replay_file(file);
        free(entry[i]);
    }
    free(entry);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            failed |= replay_directory(argv[i]);
        else
            failed |= replay_file(argv[i]);
    }
    if (n_inputs == 0) {
        fprintf(stderr, "no inputs\n");
        return 1;
    }
    printf("%d inputs\n", n_inputs);
    return failed;
}
