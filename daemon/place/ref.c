/* SPDX-License-Identifier: MIT
 *
 * The reference place: the truth for whole models. One thread, plain C kernels, one row after the
 * other, float32 latents; nothing here is clever, so that it can be read against the papers.
 *
 * Two kinds: "ref" attends in the absorbed form, "ref-naive" expands keys and values of every
 * token as the model was defined. They agree up to rounding.
 */
#include "place/place.h"

#include <errno.h>
#include <string.h>

struct ref {
    struct place place;
    struct mk mk;
    bool naive;
};

/* A zeroed vector for the rest of the block. Speed is not what this place is for. */
#define VECTOR(name, n) OWN_MEM float *name = vector(n)

static float *vector(size_t n)
{
    float *v = aligned_alloc(64, (n * sizeof *v + 64) / 64 * 64);
    if (!v)
        abort(); /* sized by the checked model, on a place for tests */
    memset(v, 0, n * sizeof *v);
    return v;
}

/* y = matrix `index` of w times x */
static void apply(const struct ref *ref, const struct weight *w, int index, const float *x,
                  float *y)
{
    VECTOR(tmp, mk_mm_tmp(w->k, 1));
    ref->mk.mat[w->type].gemv(&(struct mk_mm){
        .x = x,
        .w = (const char *)w->data + (size_t)index * w->stride,
        .y = y,
        .tmp = tmp,
        .m = 1,
        .n = w->n,
        .k = w->k,
        .n1 = w->n,
        .ldx = w->k,
        .ldy = w->n,
    });
}

static void unpack_row(const struct ref *ref, const struct weight *w, int index, int row,
                       float *dst)
{
    ref->mk.mat[w->type].row(dst, (const char *)w->data + (size_t)index * w->stride, w->n, w->k,
                             row);
}

static float *row_of(const struct buf *buf, int row, int width)
{
    return buf->data + (size_t)row * (size_t)width;
}

/* ------------------------------------------------------------------ ops */

static void begin(const struct ref *ref, const struct op_begin *op, const struct rows *rows)
{
    for (int i = 0; i < rows->n; i++) {
        unpack_row(ref, &op->embedding, 0, rows->token[i], row_of(op->x, i, op->embedding.k));
        mk_rope_table(op->frequency, op->rope, rows->position[i], row_of(op->cs, i, op->rope));
    }
}

static float *cached(const struct op_mla *op, const struct rows *rows, int row, int position)
{
    char *page = rows->page[row][position / op->page_tokens];
    return (float *)(page + op->plane) +
           (size_t)(position % op->page_tokens) * (size_t)(op->latent + op->rope);
}

static void store_latent(const struct ref *ref, const struct op_mla *op, const struct rows *rows,
                         int row, const float *h)
{
    float *kv = cached(op, rows, row, rows->position[row]);
    apply(ref, &op->kv_a, 0, h, kv);
    ref->mk.rms_norm(kv, kv, op->kv_a_norm.data, op->latent, op->eps);
    ref->mk.rope(kv + op->latent, row_of(op->cs, row, op->rope), op->rope);
}

static void attend_absorbed(const struct ref *ref, const struct op_mla *op, const struct rows *rows,
                            int row, int head, const float *q, float *out)
{
    int width = op->latent + op->rope, n = rows->position[row] + 1;
    VECTOR(absorbed, (size_t)width);
    apply(ref, &op->k_b, head, q, absorbed);
    memcpy(absorbed + op->latent, q + op->nope, (size_t)op->rope * sizeof *q);
    for (int c = 0; c < width; c++)
        absorbed[c] *= op->scale;

    int n_pages = (n + op->page_tokens - 1) / op->page_tokens;
    OWN_MEM const void **page = calloc((size_t)n_pages, sizeof *page);
    if (!page)
        abort();
    for (int p = 0; p < n_pages; p++)
        page[p] = cached(op, rows, row, p * op->page_tokens);
    VECTOR(latent, (size_t)op->latent);
    VECTOR(tmp, mk_attend_tmp(op->page_tokens, op->latent, op->rope));
    struct mk_peak peak;
    ref->mk.attend(&(struct mk_attend){
        .q = absorbed,
        .page = page,
        .out = latent,
        .peak = &peak,
        .tmp = tmp,
        .type = MK_F32,
        .n_heads = 1,
        .ldq = width,
        .ldo = op->latent,
        .latent = op->latent,
        .rope = op->rope,
        .page_tokens = op->page_tokens,
        .to = n,
    });
    ref->mk.merge(&(struct mk_merge){
        .part = latent, .peak = &peak, .out = latent, .n = 1, .latent = op->latent});
    apply(ref, &op->v_b, head, latent, out);
}

/* key(t) = [k_bᵀ · c_t | kpe_t], value(t) = v_b · c_t for every token that the row sees. */
static void attend_naive(const struct ref *ref, const struct op_mla *op, const struct rows *rows,
                         int row, int head, const float *q, float *out)
{
    int n = rows->position[row] + 1, key = op->nope + op->rope;
    VECTOR(k, (size_t)n * (size_t)key);
    VECTOR(v, (size_t)n * (size_t)op->value);
    VECTOR(k_b, (size_t)op->nope);
    for (int r = 0; r < op->latent; r++) {
        unpack_row(ref, &op->k_b, head, r, k_b);
        for (int t = 0; t < n; t++) {
            float c = cached(op, rows, row, t)[r];
            for (int j = 0; j < op->nope; j++)
                k[(size_t)t * (size_t)key + (size_t)j] += c * k_b[j];
        }
    }
    for (int t = 0; t < n; t++) {
        const float *latent = cached(op, rows, row, t);
        memcpy(k + (size_t)t * (size_t)key + op->nope, latent + op->latent,
               (size_t)op->rope * sizeof *k);
        apply(ref, &op->v_b, head, latent, v + (size_t)t * (size_t)op->value);
    }
    VECTOR(scaled, (size_t)key);
    for (int j = 0; j < key; j++)
        scaled[j] = q[j] * op->scale;
    VECTOR(tmp, (size_t)n);
    mk_ref_attend_naive(scaled, k, v, out, n, key, op->value, tmp);
}

static void mla(const struct ref *ref, const struct op_mla *op, const struct rows *rows)
{
    int hidden = op->norm.k, key = op->nope + op->rope;
    VECTOR(h, (size_t)hidden);
    VECTOR(c, (size_t)op->q_rank);
    VECTOR(q, (size_t)op->heads * (size_t)key);
    VECTOR(o, (size_t)op->heads * (size_t)op->value);
    VECTOR(y, (size_t)hidden);
    for (int i = 0; i < rows->n; i++) {
        ref->mk.rms_norm(h, row_of(op->x, i, hidden), op->norm.data, hidden, op->eps);
        store_latent(ref, op, rows, i, h);
    }
    for (int i = 0; i < rows->n; i++) {
        ref->mk.rms_norm(h, row_of(op->x, i, hidden), op->norm.data, hidden, op->eps);
        if (op->q_rank) {
            apply(ref, &op->q_a, 0, h, c);
            ref->mk.rms_norm(c, c, op->q_a_norm.data, op->q_rank, op->eps);
        }
        apply(ref, &op->q_b, 0, op->q_rank ? c : h, q);
        for (int head = 0; head < op->heads; head++) {
            float *qh = q + (size_t)head * (size_t)key;
            ref->mk.rope(qh + op->nope, row_of(op->cs, i, op->rope), op->rope);
            (ref->naive ? attend_naive : attend_absorbed)(ref, op, rows, i, head, qh,
                                                          o + (size_t)head * (size_t)op->value);
        }
        apply(ref, &op->out, 0, o, y);
        float *x = row_of(op->x, i, hidden);
        for (int j = 0; j < hidden; j++)
            x[j] += y[j];
    }
}

/* x += weight · down(silu(gate h) ⊙ (up h)) */
static void add_swiglu(const struct ref *ref, const struct weight *gate, const struct weight *up,
                       const struct weight *down, int index, const float *h, float weight, float *x)
{
    VECTOR(g, (size_t)gate->n);
    VECTOR(u, (size_t)gate->n);
    VECTOR(y, (size_t)down->n);
    apply(ref, gate, index, h, g);
    apply(ref, up, index, h, u);
    ref->mk.swiglu(g, g, u, gate->n);
    apply(ref, down, index, g, y);
    for (int j = 0; j < down->n; j++)
        x[j] += weight * y[j];
}

static void ffn(const struct ref *ref, const struct op_ffn *op, const struct rows *rows)
{
    int hidden = op->norm.k;
    VECTOR(h, (size_t)hidden);
    for (int i = 0; i < rows->n; i++) {
        float *x = row_of(op->x, i, hidden);
        ref->mk.rms_norm(h, x, op->norm.data, hidden, op->eps);
        add_swiglu(ref, &op->gate, &op->up, &op->down, 0, h, 1, x);
    }
}

static void moe(const struct ref *ref, const struct op_moe *op, const struct rows *rows)
{
    int hidden = op->norm.k, n = op->route.n_experts, used = op->route.n_used;
    VECTOR(h, (size_t)hidden);
    VECTOR(logits, (size_t)n);
    VECTOR(tmp, 2 * (size_t)n);
    VECTOR(weight, (size_t)used);
    OWN_MEM int32_t *expert = calloc((size_t)used, sizeof *expert);
    if (!expert)
        abort();
    for (int i = 0; i < rows->n; i++) {
        float *x = row_of(op->x, i, hidden);
        ref->mk.rms_norm(h, x, op->norm.data, hidden, op->eps);
        apply(ref, &op->router, 0, h, logits);
        ref->mk.route(&op->route, logits, expert, weight, tmp);
        for (int k = 0; k < used; k++)
            op_moe_count(op, expert[k], 1);
        for (int e = 0; e < n; e++) /* ascending, as the op promises */
            for (int k = 0; k < used; k++)
                if (expert[k] == e)
                    add_swiglu(ref, &op->gate, &op->up, &op->down, e, h, weight[k], x);
        if (op->shared_gate.data)
            add_swiglu(ref, &op->shared_gate, &op->shared_up, &op->shared_down, 0, h, 1, x);
    }
}

static void head(const struct ref *ref, const struct op_head *op, const struct rows *rows)
{
    int hidden = op->norm.k;
    VECTOR(h, (size_t)hidden);
    for (int i = 0; i < rows->n_wanted; i++) {
        ref->mk.rms_norm(h, row_of(op->x, rows->wanted[i], hidden), op->norm.data, hidden, op->eps);
        apply(ref, &op->head, 0, h, row_of(op->logits, i, op->head.n));
    }
}

/* ------------------------------------------------------------------ the place */

static void ref_submit(struct place *place, const struct op *ops, int n_ops,
                       const struct rows *rows)
{
    const struct ref *ref = (const struct ref *)place;
    for (const struct op *op = ops; op < ops + n_ops; op++) {
        switch (op->kind) {
        case OP_BEGIN:
            begin(ref, &op->begin, rows);
            break;
        case OP_MLA:
            mla(ref, &op->mla, rows);
            break;
        case OP_FFN:
            ffn(ref, &op->ffn, rows);
            break;
        case OP_MOE:
            moe(ref, &op->moe, rows);
            break;
        case OP_HEAD:
            head(ref, &op->head, rows);
            break;
        }
    }
}

static int ref_prepare(struct place *place, const struct op *ops, int n_ops, int max_rows,
                       struct err *err)
{
    (void)place, (void)ops, (void)n_ops, (void)max_rows, (void)err; /* scratch is per call */
    return 0;
}

static size_t ref_scratch_bytes(const struct place *place)
{
    (void)place;
    return 0;
}

static void ref_rest(struct place *place)
{
    (void)place;
}

static size_t ref_pack_size(const struct place *place, const struct mat *mat)
{
    const struct ref *ref = (const struct ref *)place;
    return ref->mk.mat[mat->type].pack_size(mat->n, mat->k);
}

static void ref_pack(struct place *place, const struct mat *rows, const void *src, void *dst)
{
    struct ref *ref = (struct ref *)place;
    ref->mk.mat[rows->type].pack(dst, src, rows->n, rows->k);
}

static void ref_bind(struct place *place, const struct mat *mat, const void *packed,
                     struct weight *ret)
{
    *ret = (struct weight){
        .type = mat->type,
        .n = mat->n,
        .k = mat->k,
        .count = mat->count,
        .stride = ref_pack_size(place, mat),
        .data = packed,
    };
}

static void ref_close(struct place *place)
{
    free(place);
}

static int open_kind(const struct place_ops *ops, bool naive, struct place **ret, struct err *err)
{
    struct ref *ref = calloc(1, sizeof *ref);
    if (!ref)
        return err_set(err, -ENOMEM, "no memory for a place");
    mk_ref_init(&ref->mk);
    ref->naive = naive;
    ref->place = (struct place){
        .ops = ops,
        .cache_type = MK_F32,
        .threads = 1,
        .isa = ref->mk.isa,
        .attention = naive ? "expanded" : "absorbed",
    };
    *ret = &ref->place;
    return 0;
}

extern const struct place_ops place_ref, place_ref_naive;

static int ref_open(const struct place_spec *spec, struct place **ret, struct err *err)
{
    (void)spec; /* one thread of plain C, whatever was asked */
    return open_kind(&place_ref, false, ret, err);
}

static int ref_naive_open(const struct place_spec *spec, struct place **ret, struct err *err)
{
    (void)spec;
    return open_kind(&place_ref_naive, true, ret, err);
}

#define REF_OPS(name, words, opener)                                                               \
    {                                                                                              \
        .kind = name, .what = words, .open = opener, .close = ref_close,                           \
        .pack_size = ref_pack_size, .pack = ref_pack, .bind = ref_bind, .prepare = ref_prepare,    \
        .scratch_bytes = ref_scratch_bytes, .submit = ref_submit, .rest = ref_rest,                \
    }

const struct place_ops place_ref = REF_OPS("ref", "plain C on one thread: the truth", ref_open);
const struct place_ops place_ref_naive =
    REF_OPS("ref-naive", "the same, with keys and values expanded", ref_naive_open);
