/* SPDX-License-Identifier: MIT
 *
 * Feature detection by cpuid, and by the state that the operating system saves for a thread: an
 * instruction that the CPU knows still faults if the system doesn't keep its registers.
 */
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LEAF1_ECX_FMA = 1 << 12,
    LEAF1_ECX_OSXSAVE = 1 << 27,
    LEAF1_ECX_AVX = 1 << 28,
    LEAF1_ECX_F16C = 1 << 29,
    LEAF7_EBX_AVX2 = 1 << 5,
    LEAF7_EBX_AVX512F = 1 << 16,
    LEAF7_EBX_AVX512DQ = 1 << 17,
    LEAF7_EBX_AVX512BW = 1 << 30,
    LEAF7_ECX_AVX512_VNNI = 1 << 11,
    XCR0_AVX = 0x06, /* 128- and 256-bit registers */
    LEAF7_EDX_AMX_BF16 = 1 << 22,
    LEAF7_EDX_AMX_TILE = 1 << 24,
    LEAF7_EDX_AMX_INT8 = 1 << 25,
    LEAF7_1_EAX_AVX512_BF16 = 1 << 5,
    XCR0_AVX512 = 0xe0, /* masks, upper halves, registers 16 to 31 */
    XCR0_AMX = 3 << 17, /* tiles and how they are cut */
    XFEATURE_TILEDATA = 18,
    REQUEST_PERMISSION = 0x1023, /* ARCH_REQ_XCOMP_PERM of asm/prctl.h, which may be older */
};
static const unsigned int leaf7_ebx_avx512vl = 1u << 31;

static uint64_t saved_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has_all(unsigned int word, unsigned int bits)
{
    return (word & bits) == bits;
}

/* Linux hands out the state of tiles, some 8 KiB a thread, to those who ask. */
static bool may_use_tiles(void)
{
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, XFEATURE_TILEDATA) == 0;
}

void cpu_detect(struct cpu *ret)
{
    unsigned int eax, ebx, ecx, edx;
    *ret = (struct cpu){0};

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx))
        return;
    if (!has_all(ecx, LEAF1_ECX_OSXSAVE | LEAF1_ECX_AVX | LEAF1_ECX_FMA | LEAF1_ECX_F16C))
        return;
    uint64_t state = saved_state();
    if ((state & XCR0_AVX) != XCR0_AVX || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return;
    ret->avx2 = has_all(ebx, LEAF7_EBX_AVX2);
    ret->avx512 = ret->avx2 && (state & XCR0_AVX512) == XCR0_AVX512 &&
                  has_all(ebx, LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512DQ | LEAF7_EBX_AVX512BW |
                                   leaf7_ebx_avx512vl) &&
                  has_all(ecx, LEAF7_ECX_AVX512_VNNI);
    bool tiles = ret->avx512 && (state & XCR0_AMX) == XCR0_AMX &&
                 has_all(edx, LEAF7_EDX_AMX_BF16 | LEAF7_EDX_AMX_INT8 | LEAF7_EDX_AMX_TILE);
    ret->amx = tiles && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) &&
               has_all(eax, LEAF7_1_EAX_AVX512_BF16) && may_use_tiles();
}

#else

void cpu_detect(struct cpu *ret)
{
    *ret = (struct cpu){0};
}

#endif
