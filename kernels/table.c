/* SPDX-License-Identifier: MIT
 *
 * Which kernels a process uses: plain C first, then each instruction set over the last, as far as
 * the build, the CPU and the caller's limit allow.
 */
#include <errno.h>
#include <string.h>

#include "mk.h"

#include "cpu.h"

const char *const mk_isa_names[] = {"c", "avx2", "avx512", "amx", NULL};

/* Rows of the table of sets, in the order of mk_isa_names. */
enum { ISA_C, ISA_AVX2, ISA_AVX512, ISA_AMX, ISA_COUNT };

void mk_ref_init(struct mk *ret)
{
    ret->isa = mk_isa_names[ISA_C];
    mk_ref_mat(ret);
    mk_ref_vec(ret);
    mk_ref_attn(ret);
    mk_ref_narrow(ret);
}

#ifdef MK_BUILD_AVX2
static void init_avx2(struct mk *mk)
{
    mk_avx2_mat(mk);
    mk_avx2_strip(mk);
    mk_avx2_vec(mk);
    mk_avx2_attn(mk);
    mk_avx2_prompt(mk);
    mk_avx2_narrow(mk);
}
#else
#define init_avx2 NULL
#endif

#ifdef MK_BUILD_AVX512
static void init_avx512(struct mk *mk)
{
    mk_avx512_mat(mk);
    mk_avx512_strip(mk);
    mk_avx512_vec(mk);
    mk_avx512_attn(mk);
    mk_avx512_prompt(mk);
    mk_avx512_narrow(mk);
}
#else
#define init_avx512 NULL
#endif

#ifdef MK_BUILD_AMX
static void init_amx(struct mk *mk)
{
    mk_amx_mat(mk);
    mk_amx_attn(mk);
    mk_amx_prompt(mk);
}
#else
#define init_amx NULL
#endif

int mk_init(struct mk *ret, const char *isa)
{
    struct cpu cpu;
    cpu_detect(&cpu);
    const struct {
        bool runs;
        void (*init)(struct mk *mk);
    } set[ISA_COUNT] = {
        {true, mk_ref_init},
        {cpu.avx2, init_avx2},
        {cpu.avx512, init_avx512},
        {cpu.amx, init_amx},
    };

    int limit = ISA_COUNT - 1;
    if (isa) {
        for (limit = 0; mk_isa_names[limit] && strcmp(mk_isa_names[limit], isa); limit++)
            continue;
        if (!mk_isa_names[limit])
            return -EINVAL;
        if (!set[limit].runs || !set[limit].init)
            return -ENOTSUP;
    }
    for (int i = 0; i <= limit; i++) {
        if (!set[i].runs || !set[i].init)
            continue;
        set[i].init(ret);
        ret->isa = mk_isa_names[i];
    }
    return 0;
}
