/* SPDX-License-Identifier: MIT
 *
 * Feature detection by cpuid, and by the state that the operating system saves for a thread: an
 * instruction that the CPU knows still faults if the system doesn't keep its registers.
 */
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>

enum {
    LEAF1_ECX_FMA = 1 << 12,
    LEAF1_ECX_OSXSAVE = 1 << 27,
    LEAF1_ECX_AVX = 1 << 28,
    LEAF1_ECX_F16C = 1 << 29,
    LEAF7_EBX_AVX2 = 1 << 5,
    LEAF7_EBX_AVX512F = 1 << 16,
    LEAF7_EBX_AVX512DQ = 1 << 17,
    LEAF7_EBX_AVX512BW = 1 << 30,
    XCR0_AVX = 0x06,    /* 128- and 256-bit registers */
    XCR0_AVX512 = 0xe0, /* masks, upper halves, registers 16 to 31 */
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
                                   leaf7_ebx_avx512vl);
}

#else

void cpu_detect(struct cpu *ret)
{
    *ret = (struct cpu){0};
}

#endif
