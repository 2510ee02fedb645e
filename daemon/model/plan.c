/* SPDX-License-Identifier: MIT
 *
 * Checks every tensor of a file against the architecture's own list.
 */
#include "model/weights.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct planner {
    const struct arch *arch;
    const struct hparams *hp;
    const struct format *format;
    unsigned layout;
    int n_rules;
    const struct tensor **found; /* [n_rules][layers + mtp_layers]; IN_FILE at layer 0 */
    int n_blocks;
    struct plan *plan;
};

static uint64_t dim_size(const struct hparams *hp, enum dim dim)
{
    switch (dim) {
    case DIM_NONE:
        return 1;
    case DIM_HIDDEN:
        return (uint64_t)hp->hidden;
    case DIM_TWO_HIDDEN:
        return 2 * (uint64_t)hp->hidden;
    case DIM_VOCAB:
        return (uint64_t)hp->vocab;
    case DIM_Q_RANK:
        return (uint64_t)hp->q_rank;
    case DIM_Q:
        return (uint64_t)hp->heads * (uint64_t)(hp->nope + hp->rope_dims);
    case DIM_LATENT:
        return (uint64_t)hp->latent;
    case DIM_KV:
        return (uint64_t)(hp->latent + hp->rope_dims);
    case DIM_KV_B:
        return (uint64_t)hp->heads * (uint64_t)(hp->nope + hp->value);
    case DIM_NOPE:
        return (uint64_t)hp->nope;
    case DIM_VALUE:
        return (uint64_t)hp->value;
    case DIM_HEADS:
        return (uint64_t)hp->heads;
    case DIM_O:
        return (uint64_t)hp->heads * (uint64_t)hp->value;
    case DIM_DENSE:
        return (uint64_t)hp->dense_width;
    case DIM_EXPERT:
        return (uint64_t)hp->expert_width;
    case DIM_TWO_EXPERT:
        return 2 * (uint64_t)hp->expert_width;
    case DIM_SHARED:
        return (uint64_t)hp->shared_width;
    case DIM_EXPERTS:
        return (uint64_t)hp->experts;
    }
    return 0;
}

/* "blk.12.attn_norm.weight" → 12 and the rest; false for names without a layer. */
static bool split_name(const char *name, int *layer, const char **rest)
{
    if (strncmp(name, "blk.", 4))
        return false;
    const char *c = name + 4;
    int n = 0;
    if (*c < '0' || *c > '9' || (c[0] == '0' && c[1] != '.'))
        return false;
    for (; *c >= '0' && *c <= '9'; c++) {
        n = n * 10 + (*c - '0');
        if (n > 1000000)
            return false;
    }
    if (*c != '.')
        return false;
    *layer = n;
    *rest = c + 1;
    return true;
}

static bool applies(const struct planner *p, const struct tensor_rule *rule, int layer)
{
    const struct hparams *hp = p->hp;
    unsigned f = rule->flags;
    if ((f & IF_Q_RANK && !hp->q_rank) || (f & IF_NO_Q_RANK && hp->q_rank) ||
        (f & IF_SHARED && !hp->shared_width) || (f & ANY_LAYOUT & ~p->layout))
        return false;
    if (f & IN_FILE)
        return layer < 0;
    if (layer < 0)
        return false;
    if (f & IN_MTP)
        return layer >= hp->layers;
    if (f & IN_DENSE)
        return layer < hp->dense_layers;
    if (f & IN_MOE)
        return layer >= hp->dense_layers;
    return true;
}

static void shape_text(const uint64_t *dims, int n, char *dst, size_t size)
{
    size_t used = 0;
    dst[0] = '\0';
    for (int i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(dst + used, size - used, "%s%llu", i ? " x " : "",
                                 (unsigned long long)dims[i]);
}

/* The rule's sizes; returns how many dimensions that is. */
static int rule_dims(const struct hparams *hp, const struct tensor_rule *rule, uint64_t *ret)
{
    int n = 0;
    for (int i = 0; i < TENSOR_MAX_DIMS; i++) {
        enum dim dim = i < 3 ? rule->dim[i] : DIM_NONE;
        ret[i] = dim_size(hp, dim);
        if (dim != DIM_NONE)
            n = i + 1;
    }
    return n;
}

/* Some converters write a stack of matrices as one long matrix: the same bytes. */
static bool same_shape(const uint64_t *want, const uint64_t *dims)
{
    for (int i = 0; i < TENSOR_MAX_DIMS; i++)
        if (dims[i] > INT32_MAX || want[i] > INT32_MAX)
            return false; /* sizes are ints from here on */
    return dims[0] == want[0] && dims[1] * dims[2] == want[1] * want[2] && dims[3] == 1 &&
           (dims[2] == want[2] || dims[2] == 1);
}

static int check_shape(const struct planner *p, const struct tensor_rule *rule,
                       const struct tensor *tensor, struct err *err)
{
    uint64_t want[TENSOR_MAX_DIMS];
    int n = rule_dims(p->hp, rule, want);
    if (same_shape(want, tensor->dims))
        return 0;
    char found[96], expected[96];
    shape_text(tensor->dims, tensor->n_dims, found, sizeof found);
    shape_text(want, n, expected, sizeof expected);
    return err_set(err, -EINVAL, "%s: tensor '%s' is %s, expected %s", format_path(p->format),
                   tensor->name, found, expected);
}

/* Factors that some converters of NVFP4 keep apart. Without them every weight would be wrong. */
static bool holds_scales(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".scale") || !strcmp(dot, ".input_scale"));
}

static int assign(struct planner *p, const struct tensor *tensor, struct err *err)
{
    int layer = -1;
    const char *name = tensor->name;
    split_name(tensor->name, &layer, &name);
    if (layer >= p->n_blocks)
        return err_set(err, -EINVAL, "%s: tensor '%s' is of block %d, but the file has %d blocks",
                       format_path(p->format), tensor->name, layer, p->n_blocks);
    bool known = false;
    for (int i = 0; i < p->n_rules; i++) {
        const struct tensor_rule *rule = &p->arch->tensors[i];
        if (strcmp(rule->name, name))
            continue;
        known = true;
        if (!applies(p, rule, layer))
            continue;
        int r = check_shape(p, rule, tensor, err);
        if (r < 0)
            return r;
        p->found[i * p->n_blocks + (layer < 0 ? 0 : layer)] = tensor;
        return 0;
    }
    if (!known && holds_scales(name))
        return err_set(err, -ENOTSUP,
                       "%s: tensor '%s' holds scales of another tensor, as files of NVFP4 may; "
                       "expected a file whose blocks are complete: one of MXFP4 or Q4_K, or NVFP4 "
                       "without them",
                       format_path(p->format), tensor->name);
    return err_set(err, -ENOTSUP,
                   known ? "%s: tensor '%s' does not belong where it is, by the numbers in the file"
                         : "%s: tensor '%s' is not known in architecture %s",
                   format_path(p->format), tensor->name, p->arch->name);
}

static struct plan_item *add(const struct planner *p, const struct tensor_rule *rule,
                             const struct tensor *tensor, int layer, enum plan_how how)
{
    uint64_t dims[TENSOR_MAX_DIMS];
    rule_dims(p->hp, rule, dims);
    struct plan_item *item = &p->plan->item[p->plan->n++];
    *item = (struct plan_item){
        .tensor = tensor,
        .role = rule->role,
        .layer = layer,
        .how = how,
        .step = (int)dims[1],
        .mat = {.type = how == PLAN_AS_F32 ? MK_F32 : tensor->type,
                .n = (int)dims[1],
                .k = (int)dims[0],
                .count = (int)dims[2]},
    };
    return item;
}

/* One matrix of keys and values a head becomes the two that the ops want. */
static void add_classic(const struct planner *p, const struct tensor_rule *rule,
                        const struct tensor *tensor, int layer)
{
    const struct hparams *hp = p->hp;
    struct plan_item *keys = add(p, rule, tensor, layer, PLAN_TURNED);
    keys->role = ROLE_K_B;
    keys->step = hp->nope + hp->value;
    /* Transposing breaks up quantised blocks: their numbers are kept as they are, in float32. */
    bool plain = mk_type_info[tensor->type].block_elements == 1;
    keys->mat = (struct mat){
        .type = plain ? tensor->type : MK_F32, .n = hp->latent, .k = hp->nope, .count = hp->heads};
    struct plan_item *values = add(p, rule, tensor, layer, PLAN_AS_IS);
    values->role = ROLE_V_B;
    values->row = hp->nope;
    values->step = hp->nope + hp->value;
    values->mat =
        (struct mat){.type = tensor->type, .n = hp->value, .k = hp->latent, .count = hp->heads};
}

/* The rows of the gates, then those of the projections that they weigh, expert by expert. */
static void add_merged(const struct planner *p, const struct tensor_rule *rule,
                       const struct tensor *tensor, int layer)
{
    static const enum role roles[] = {ROLE_EXPERT_GATE, ROLE_EXPERT_UP};
    for (int i = 0; i < 2; i++) {
        struct plan_item *half = add(p, rule, tensor, layer, PLAN_AS_IS);
        half->role = roles[i];
        half->mat.n /= 2;
        half->row = i * half->mat.n;
    }
}

static int count_role(const struct planner *p, enum role role, int layer)
{
    int n = 0;
    for (int i = 0; i < p->n_rules; i++)
        n += p->arch->tensors[i].role == role && p->found[i * p->n_blocks + layer];
    return n;
}

/* The router's bias has several names: it must be there once in all expert layers or in none, and
 * only where the gate knows one. */
static int check_bias(const struct planner *p, struct err *err)
{
    const struct hparams *hp = p->hp;
    for (int layer = hp->dense_layers; layer < hp->layers; layer++) {
        int n = count_role(p, ROLE_ROUTER_BIAS, layer);
        if (n > 0 && hp->route.gate == MK_GATE_SOFTMAX)
            return err_set(err, -EINVAL,
                           "%s: tensor 'blk.%d.exp_probs_b.bias' does not belong to a router with "
                           "softmax, by key '%s.expert_gating_func'",
                           format_path(p->format), layer, p->arch->name);
        if (n > 1)
            return err_set(err, -EINVAL,
                           "%s: tensor 'blk.%d.exp_probs_b.bias' is there %d times under several "
                           "names, expected once",
                           format_path(p->format), layer, n);
        if (n != count_role(p, ROLE_ROUTER_BIAS, hp->dense_layers))
            return err_set(err, -EINVAL,
                           "%s: tensor 'blk.%d.exp_probs_b.bias' is missing or alone: either all "
                           "expert layers have one or none",
                           format_path(p->format), layer);
    }
    return 0;
}

static int collect(struct planner *p, int rule_index, int layer, struct err *err)
{
    const struct tensor_rule *rule = &p->arch->tensors[rule_index];
    const struct tensor *tensor = p->found[rule_index * p->n_blocks + (layer < 0 ? 0 : layer)];
    if (!tensor && rule->flags & OPTIONAL)
        return 0;
    if (!tensor) {
        char name[96];
        if (layer < 0)
            snprintf(name, sizeof name, "%s", rule->name);
        else
            snprintf(name, sizeof name, "blk.%d.%s", layer, rule->name);
        return err_set(err, -EINVAL, "%s: tensor '%s' is missing", format_path(p->format), name);
    }
    if (rule->role == ROLE_KV_B)
        add_classic(p, rule, tensor, layer);
    else if (rule->role == ROLE_EXPERT_GATE_UP)
        add_merged(p, rule, tensor, layer);
    else
        add(p, rule, tensor, layer, rule->flags & AS_F32 ? PLAN_AS_F32 : PLAN_AS_IS);
    return 0;
}

static int collect_all(struct planner *p, struct err *err)
{
    for (int i = 0; i < p->n_rules; i++) {
        const struct tensor_rule *rule = &p->arch->tensors[i];
        for (int layer = rule->flags & IN_FILE ? -1 : 0; layer < p->hp->layers; layer++) {
            if (layer >= 0 && rule->flags & IN_FILE)
                break;
            if (rule->flags & ASIDE || !applies(p, rule, layer))
                continue;
            int r = collect(p, i, layer, err);
            if (r < 0)
                return r;
        }
    }
    return check_bias(p, err);
}

static int make(struct planner *p, struct err *err)
{
    for (int i = 0; i < format_n_tensors(p->format); i++) {
        const struct tensor *tensor = format_tensor(p->format, i);
        int r = assign(p, tensor, err);
        if (r < 0)
            return r;
        uint64_t elements = 1;
        for (int d = 0; d < TENSOR_MAX_DIMS; d++)
            elements *= tensor->dims[d]; /* the format has checked that their bytes exist */
        p->plan->parameters += elements;
    }
    int r = collect_all(p, err);
    if (r < 0)
        return r;
    p->plan->tied = count_role(p, ROLE_HEAD, 0) == 0;
    for (int layer = p->hp->layers; layer < p->n_blocks; layer++)
        p->plan->has_mtp |= count_role(p, ROLE_MTP, layer) > 0;
    return 0;
}

int plan_make(const struct arch *arch, const struct hparams *hp, const struct format *format,
              struct plan *ret, struct err *err)
{
    struct plan plan = {0};
    struct planner p = {
        .arch = arch,
        .hp = hp,
        .format = format,
        .layout = arch->layout(format),
        .n_blocks = hp->layers + hp->mtp_layers,
        .plan = &plan,
    };
    while (arch->tensors[p.n_rules].name)
        p.n_rules++;
    OWN_MEM const struct tensor **found =
        calloc((size_t)p.n_rules * (size_t)p.n_blocks, sizeof *found);
    plan.item = calloc(2 * (size_t)p.n_rules * (size_t)p.n_blocks, sizeof *plan.item);
    if (!found || !plan.item) {
        plan_fini(&plan);
        return err_set(err, -ENOMEM, "%s: no memory to plan %d blocks", format_path(format),
                       p.n_blocks);
    }
    p.found = found;
    int r = make(&p, err);
    if (r < 0) {
        plan_fini(&plan);
        return r;
    }
    *ret = plan;
    return 0;
}

void plan_fini(struct plan *plan)
{
    free(plan->item);
    *plan = (struct plan){0};
}
