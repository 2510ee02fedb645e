/* SPDX-License-Identifier: MIT
 *
 * The table of kernels: which sets there are, what a limit does, what every format brings along;
 * and the halves, all 65536 of each kind.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "mk.h"

static void test_names(void **state)
{
    (void)state;
    struct mk mk;
    assert_string_equal(mk_isa_names[0], "c");
    assert_int_equal(mk_init(&mk, "sse9"), -EINVAL);
    assert_int_equal(mk_init(&mk, ""), -EINVAL);
    assert_int_equal(mk_init(&mk, "c"), 0);
    assert_string_equal(mk.isa, "c");
}

static void test_limits(void **state)
{
    (void)state;
    struct cpu cpu;
    cpu_detect(&cpu);
    assert_true(cpu.avx2 || !cpu.avx512);
    assert_true(cpu.avx512 || !cpu.amx);

    const char *best = NULL;
    for (int i = 0; mk_isa_names[i]; i++) {
        struct mk mk;
        int r = mk_init(&mk, mk_isa_names[i]);
        assert_true(r == 0 || r == -ENOTSUP);
        if (r)
            continue;
        best = mk_isa_names[i];
        assert_string_equal(mk.isa, best);
        for (int t = 0; t < MK_TYPE_COUNT; t++) {
            if (t != MK_F32 || strcmp(best, "amx")) /* AMX leaves float32 to AVX-512 */
                assert_string_equal(mk.mat[t].isa, best);
            assert_int_equal(mk.mat[t].type, t);
            int rows = mk.mat[t].layout == MK_STRIPS ? 16 : 3;
            assert_int_equal(mk.mat[t].pack_size(3, 512), (size_t)rows * mk_row_bytes(t, 512));
        }
    }
    struct mk mk;
    assert_int_equal(mk_init(&mk, NULL), 0);
    assert_string_equal(mk.isa, best);
    if (!cpu.avx2)
        assert_int_equal(mk_init(&mk, "avx2"), -ENOTSUP);
    if (!cpu.avx512)
        assert_int_equal(mk_init(&mk, "avx512"), -ENOTSUP);
    if (!cpu.amx)
        assert_int_equal(mk_init(&mk, "amx"), -ENOTSUP);
}

/* What 16 bits mean, by the definition: exponent bits wide, the rest fraction. */
static double meaning(uint32_t half, int fraction_bits, int bias)
{
    int exponent = (int)(half & 0x7fff) >> fraction_bits, most = 0x7fff >> fraction_bits;
    double fraction = ldexp(half & ((1u << fraction_bits) - 1), -fraction_bits);
    double sign = half & 0x8000 ? -1 : 1;
    if (exponent == most)
        return fraction > 0 ? NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(1 + fraction, exponent - bias) : ldexp(fraction, 1 - bias));
}

static void check_every_half(const struct mk *mk, enum mk_type type, int fraction_bits, int bias)
{
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t half = (uint16_t)h, back;
        float is;
        mk->mat[type].row(&is, &half, 1, 1, 0);
        double expected = meaning(h, fraction_bits, bias);
        if (isnan(expected)) {
            assert_true(isnan(is));
            mk->store(&back, type, &is, 1);
            assert_true(isnan(meaning(back, fraction_bits, bias)));
            continue;
        }
        assert_true((double)is == expected && !signbit(is) == !signbit(expected));
        mk->store(&back, type, &is, 1);
        assert_int_equal(back, half);

        /* a tie between this and the next goes to the even one, anything else to the nearer */
        if (isinf(expected) || isinf(meaning(h + 1, fraction_bits, bias)) || (h & 0x7fff) == 0x7fff)
            continue;
        float middle = (float)((expected + meaning(h + 1, fraction_bits, bias)) / 2);
        mk->store(&back, type, &middle, 1);
        assert_int_equal(back, h + (h & 1));
        float below = nextafterf(middle, 0),
              above = nextafterf(middle, signbit(is) ? -INFINITY : INFINITY);
        mk->store(&back, type, &below, 1);
        assert_int_equal(back, h);
        mk->store(&back, type, &above, 1);
        assert_int_equal(back, h + 1);
    }
    uint16_t half;
    const float huge = 3.4028235e38f;
    mk->store(&half, type, &huge, 1);
    assert_true(isinf(meaning(half, fraction_bits, bias)));
}

static void test_halves(void **state)
{
    (void)state;
    for (int i = 0; mk_isa_names[i]; i++) {
        struct mk mk;
        if (mk_init(&mk, mk_isa_names[i]))
            continue;
        check_every_half(&mk, MK_F16, 10, 15);
        check_every_half(&mk, MK_BF16, 7, 127);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
