/* SPDX-License-Identifier: MIT
 *
 * Finds the files of a checkpoint and puts its tensors together. See hf.h.
 *
 * The index, if there is one, says which file holds which tensor; files are opened by the names it
 * gives, and each header must agree with it. The tensors of one expert each become one stack.
 */
#include "format/hf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/format.h"
#include "format/hf_names.h"
#include "format/json.h"
#include "format/meta.h"
#include "format/safetensors.h"
#include "format/stack.h"
#include "format/table.h"

#define INDEX_NAME  "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"
#define SCALE       "_scale_inv"

enum { INDEX_MAX = 64 << 20, SCALE_BLOCK = 128, FILE_NAME_MAX = 100 };

struct listed { /* one line of the index */
    const char *tensor;
    uint16_t part;
};

struct item { /* one source that becomes a tensor or a matrix of one */
    struct hf_name name;
    uint32_t source;
};

struct checkpoint { /* while it is opened */
    struct format *format;
    struct err *err;
    struct hf_folder folder;
    struct hf_config config;
    struct hf_text index;
    struct listed *listed;
    size_t n_listed;
    struct st_list list;
    char **header; /* of each part: list.tensor's names lie there */
    uint32_t *by_name;
    struct item *item;
    size_t n_items;
};

/* ------------------------------------------------------------------ whole files */

void hf_text_fini(struct hf_text *text)
{
    free(text->at);
    text->at = NULL;
}

int hf_read(const struct hf_folder *folder, const char *name, size_t most, struct hf_text *ret,
            struct err *err)
{
    struct part part;
    int r = part_open_beside(folder->fd, folder->beside, name, &part, err);
    if (r < 0)
        return r;
    snprintf(ret->label, sizeof ret->label, "%s", part.label);
    if (part.bytes > most) {
        part_close(&part);
        return err_set(err, -EINVAL, "'%s': found %" PRIu64 " bytes, expected at most %zu",
                       part.label, part.bytes, most);
    }
    ret->bytes = (size_t)part.bytes;
    ret->at = malloc(ret->bytes + 1);
    if (ret->at)
        r = part_read(&part, 0, ret->at, ret->bytes, err);
    else
        r = err_set(err, -ENOMEM, "'%s': no memory for %zu bytes", part.label, ret->bytes);
    if (r == 0)
        r = part_check_unchanged(&part, err);
    part_close(&part);
    if (r < 0)
        hf_text_fini(ret);
    return r;
}

/* ------------------------------------------------------------------ files */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

static int add_part(struct checkpoint *c, const char *name, uint16_t *ret)
{
    struct format *f = c->format;
    if (f->n_parts == FORMAT_MAX_PARTS)
        return err_set(c->err, -EINVAL, "'%s': found more than %d files, the most accepted",
                       c->index.label, FORMAT_MAX_PARTS);
    int r = part_open_beside(c->folder.fd, c->folder.beside, name, &f->part[f->n_parts], c->err);
    if (r == 0)
        *ret = (uint16_t)f->n_parts++;
    return r;
}

/* The weight map: tensors and the files they lie in, each of which is opened when it first comes.
 */
static int read_map(struct checkpoint *c, struct json *json, const char **file)
{
    struct json_text key, name;
    size_t room = 0;
    uint16_t last = 0;
    int r = json_object(json);
    while (r == 0 && (r = json_key(json, &key)) > 0) {
        r = json_string(json, &name);
        if (r < 0)
            return r;
        if (c->n_listed == ST_MAX_TENSORS)
            return json_fail(json, -EINVAL, "found more than %d tensors, the most accepted",
                             ST_MAX_TENSORS);
        if (c->n_listed == room) {
            room = room ? room + room / 2 : 256;
            struct listed *grown = realloc(c->listed, room * sizeof *grown);
            if (!grown)
                return json_fail(json, -ENOMEM, "no memory for %zu tensors", room);
            c->listed = grown;
        }
        int n = c->format->n_parts;
        if (last >= n || strcmp(file[last], name.at)) {
            int i = 0;
            while (i < n && strcmp(file[i], name.at))
                i++;
            last = (uint16_t)i;
            if (i == n && name.bytes > FILE_NAME_MAX)
                return json_fail(json, -EINVAL,
                                 "found the name of a file of %zu bytes, expected at most %d",
                                 name.bytes, FILE_NAME_MAX);
            if (i == n)
                r = add_part(c, name.at, &last);
            if (r < 0)
                return r;
            file[last] = name.at;
        }
        c->listed[c->n_listed++] = (struct listed){.tensor = key.at, .part = last};
    }
    return r;
}

static int read_index(struct checkpoint *c)
{
    const char *file[FORMAT_MAX_PARTS];
    struct json json;
    struct json_text key;
    bool found = false;
    json_init(&json, c->index.label, c->index.at, c->index.bytes, c->err);
    int r = json_object(&json);
    while (r == 0 && (r = json_key(&json, &key)) > 0) {
        if (!json_is(&key, "weight_map")) {
            r = json_skip(&json);
        } else if (found) {
            r = json_fail(&json, -EINVAL, "found 'weight_map' twice, expected once");
        } else {
            found = true;
            r = read_map(c, &json, file);
        }
    }
    if (r == 0)
        r = json_end(&json);
    json_fini(&json);
    if (r == 0 && c->n_listed == 0)
        r = err_set(c->err, -EINVAL, "'%s': found no tensors in 'weight_map', expected some",
                    c->index.label);
    if (r < 0)
        return r;
    const char *named = base_name(c->format->path);
    if (!ends_with(named, ".safetensors"))
        return 0;
    for (int i = 0; i < c->format->n_parts; i++)
        if (!strcmp(file[i], named))
            return 0;
    return err_set(c->err, -EINVAL, "'%s': it does not list the file '%.100s', which was named",
                   c->index.label, named);
}

/* All files with tensors; none if there is but a vocabulary, of which a file was named. */
static int open_files(struct checkpoint *c, bool is_folder)
{
    struct format *f = c->format;
    struct err none;
    const char *named = is_folder ? "" : base_name(f->path);
    int r = hf_read(&c->folder, INDEX_NAME, INDEX_MAX, &c->index, &none);
    bool indexed = r == 0;
    if (r < 0 && r != -ENOENT) {
        if (c->err)
            *c->err = none;
        return r;
    }
    if (!indexed && ends_with(named, ".safetensors"))
        return 0; /* it is open already */

    if (f->n_parts) /* any file of the folder: it is not read by this door */
        part_close(&f->part[0]);
    f->n_parts = 0;
    struct part *grown = realloc(f->part, (indexed ? FORMAT_MAX_PARTS : 1) * sizeof *grown);
    if (!grown)
        return err_set(c->err, -ENOMEM, "no memory to open '%.160s'", f->path);
    f->part = grown;
    if (indexed)
        return read_index(c);
    r = part_open_beside(c->folder.fd, c->folder.beside, SINGLE_NAME, &f->part[0], &none);
    if (r == 0) {
        f->n_parts = 1;
        return 0;
    }
    if (r == -ENOENT &&
        (!strcmp(named, "tokenizer.json") || !strcmp(named, "tokenizer_config.json")))
        return 0;
    if (r == -ENOENT)
        return err_set(c->err, is_folder ? -EINVAL : r,
                       "'%.160s': found a %s with neither '" SINGLE_NAME "' nor '" INDEX_NAME "'%s",
                       f->path, is_folder ? "directory" : "JSON file",
                       is_folder ? " in it" : " beside it");
    if (c->err)
        *c->err = none;
    return r;
}

static int compare_names(const void *a, const void *b, void *arg)
{
    const struct st_tensor *tensor = arg;
    return strcmp(tensor[*(const uint32_t *)a].name, tensor[*(const uint32_t *)b].name);
}

static const struct st_tensor *find(const struct checkpoint *c, const char *name)
{
    size_t low = 0, high = c->list.n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct st_tensor *t = &c->list.tensor[c->by_name[middle]];
        int order = strcmp(name, t->name);
        if (order == 0)
            return t;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static const char *label_of(const struct checkpoint *c, const struct st_tensor *tensor)
{
    return c->format->part[tensor->part].label;
}

/* What the index says against what the headers say. */
static int check_index(const struct checkpoint *c)
{
    for (size_t i = 0; i < c->n_listed; i++) {
        const struct listed *l = &c->listed[i];
        const char *label = c->format->part[l->part].label;
        const struct st_tensor *t = find(c, l->tensor);
        if (!t)
            return err_set(c->err, -EINVAL,
                           "'%s', tensor '%.100s': it is missing, but '%s' "
                           "lists it",
                           label, l->tensor, INDEX_NAME);
        if (t->part != l->part)
            return err_set(c->err, -EINVAL,
                           "'%s', tensor '%.100s': found here, but '%s' "
                           "lists it elsewhere",
                           label_of(c, t), l->tensor, INDEX_NAME);
    }
    if (c->n_listed == c->list.n || !c->listed)
        return 0;
    /* Each listed tensor exists and names differ, so some that exist are not listed. */
    return err_set(c->err, -EINVAL, "'%s': lists %zu tensors, but the files hold %zu",
                   c->index.label, c->n_listed, c->list.n);
}

static int read_headers(struct checkpoint *c)
{
    struct format *f = c->format;
    c->header = calloc((size_t)f->n_parts + 1, sizeof *c->header);
    if (!c->header)
        return err_set(c->err, -ENOMEM, "no memory to open '%.160s'", f->path);
    for (int i = 0; i < f->n_parts; i++) {
        int r = safetensors_read(&f->part[i], (uint16_t)i, &c->list, &c->header[i], c->err);
        if (r < 0)
            return r;
    }
    c->by_name = malloc((c->list.n + 1) * sizeof *c->by_name);
    if (!c->by_name)
        return err_set(c->err, -ENOMEM, "no memory for %zu tensors", c->list.n);
    for (size_t i = 0; i < c->list.n; i++)
        c->by_name[i] = (uint32_t)i;
    if (c->list.n)
        qsort_r(c->by_name, c->list.n, sizeof *c->by_name, compare_names, c->list.tensor);
    for (size_t i = 1; i < c->list.n; i++) {
        const struct st_tensor *a = &c->list.tensor[c->by_name[i - 1]];
        const struct st_tensor *b = &c->list.tensor[c->by_name[i]];
        if (!strcmp(a->name, b->name))
            return err_set(c->err, -EINVAL,
                           "'%s', tensor '%.100s': found also in '%s', expected "
                           "once",
                           label_of(c, b), b->name, label_of(c, a));
    }
    return check_index(c);
}

/* ------------------------------------------------------------------ tensors */

static int compare_items(const void *a, const void *b)
{
    const struct hf_name *x = &((const struct item *)a)->name, *y = &((const struct item *)b)->name;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->expert < y->expert ? -1 : x->expert > y->expert;
}

static int check_scale_has_weight(const struct checkpoint *c, const struct st_tensor *scale)
{
    char name[256];
    size_t n = strlen(scale->name) - (sizeof SCALE - 1);
    if (n < sizeof name) {
        snprintf(name, sizeof name, "%.*s", (int)n, scale->name);
        const struct st_tensor *weight = find(c, name);
        if (weight && weight->dtype == ST_F8_E4M3)
            return 0;
    }
    return err_set(c->err, -EINVAL,
                   "'%s', tensor '%.100s': found scales without a tensor of type "
                   "F8_E4M3 that they belong to",
                   label_of(c, scale), scale->name);
}

/* Which sources become what, sorted. */
static int collect(struct checkpoint *c, bool *has_mtp)
{
    c->item = malloc((c->list.n + 1) * sizeof *c->item);
    if (!c->item)
        return err_set(c->err, -ENOMEM, "no memory for %zu tensors", c->list.n);
    for (size_t i = 0; i < c->list.n; i++) {
        const struct st_tensor *t = &c->list.tensor[i];
        struct item *item = &c->item[c->n_items];
        int r = hf_name_find(t->name, &item->name);
        if (r == -ENOENT && ends_with(t->name, SCALE)) {
            r = check_scale_has_weight(c, t);
            if (r < 0)
                return r;
            continue;
        }
        if (r == -ENOENT)
            return err_set(c->err, -ENOTSUP,
                           "'%s', tensor '%.100s': found a name that no model of "
                           "these families has",
                           label_of(c, t), t->name);
        if (r == 0)
            continue;
        int blocks = c->config.layers + c->config.mtp_layers;
        if (item->name.layer >= blocks)
            return err_set(c->err, -EINVAL,
                           "'%s', tensor '%.100s': found layer %d, but config.json "
                           "makes them %d, numbered from 0",
                           label_of(c, t), t->name, item->name.layer, blocks);
        *has_mtp |= item->name.layer >= c->config.layers;
        item->source = (uint32_t)i;
        c->n_items++;
    }
    if (c->n_items)
        qsort(c->item, c->n_items, sizeof *c->item, compare_items);
    return 0;
}

/* The scales of a matrix of FP8, and how they are stored. */
static int find_scale(const struct checkpoint *c, const struct st_tensor *t,
                      const struct st_tensor **ret, uint8_t *how)
{
    char name[256];
    snprintf(name, sizeof name, "%.240s" SCALE, t->name);
    const struct st_tensor *scale = find(c, name);
    if (!scale)
        return err_set(c->err, -EINVAL,
                       "'%s', tensor '%.100s': found type F8_E4M3, but no tensor "
                       "'%.120s' with its scales",
                       label_of(c, t), t->name, name);
    if (!c->config.scaled)
        return err_set(c->err, -EINVAL,
                       "'%s', tensor '%.100s': found type F8_E4M3, but config.json "
                       "has no quantization_config",
                       label_of(c, t), t->name);
    if (scale->dtype != ST_F32 && scale->dtype != ST_F8_E8M0)
        return err_set(c->err, -ENOTSUP,
                       "'%s', tensor '%.100s': found type %s, expected F32 or "
                       "F8_E8M0",
                       label_of(c, scale), scale->name, st_dtype_name[scale->dtype]);
    uint64_t rows = t->dims[0] / SCALE_BLOCK + (t->dims[0] % SCALE_BLOCK != 0);
    uint64_t columns = t->dims[1] / SCALE_BLOCK + (t->dims[1] % SCALE_BLOCK != 0);
    if (t->n_dims != 2 || scale->n_dims != 2 || scale->dims[0] != rows || scale->dims[1] != columns)
        return err_set(c->err, -EINVAL,
                       "'%s', tensor '%.100s': found %" PRIu64 " x %" PRIu64
                       " scales, expected %" PRIu64 " x %" PRIu64 " for blocks of 128 x 128",
                       label_of(c, scale), scale->name, scale->dims[0], scale->dims[1], rows,
                       columns);
    *ret = scale;
    *how = scale->dtype == ST_F32 ? STACK_SCALE_F32 : STACK_SCALE_E8M0;
    return 0;
}

static int type_of(const struct checkpoint *c, const struct st_tensor *t, enum mk_type *ret)
{
    switch (t->dtype) {
    case ST_F32:
        *ret = MK_F32;
        return 0;
    case ST_F16:
        *ret = MK_F16;
        return 0;
    case ST_BF16:
        *ret = MK_BF16;
        return 0;
    case ST_F8_E4M3:
        *ret = MK_FP8_E4M3;
        return 0;
    default:
        return err_set(c->err, -ENOTSUP,
                       "'%s', tensor '%.100s': found type %s, expected BF16, F16 "
                       "or F32",
                       label_of(c, t), t->name, st_dtype_name[t->dtype]);
    }
}

/* The next source of a tensor, alike to the first of its stack. */
static int add_source(struct checkpoint *c, const struct st_tensor *t,
                      const struct st_tensor *first, struct stack *stack)
{
    struct source *source = &c->format->source[stack->first + stack->n];
    *source = (struct source){.offset = t->offset, .part = t->part};
    uint8_t how = STACK_PLAIN;
    if (t->dtype == ST_F8_E4M3) {
        const struct st_tensor *scale = NULL;
        int r = find_scale(c, t, &scale, &how);
        if (r < 0)
            return r;
        source->scale_offset = scale->offset;
        source->scale_part = scale->part;
    }
    if (t->n_dims != first->n_dims || t->dims[0] != first->dims[0] || t->dims[1] != first->dims[1])
        return err_set(c->err, -EINVAL,
                       "'%s', tensor '%.100s': found %" PRIu64 " x %" PRIu64 ", expected %" PRIu64
                       " x %" PRIu64 " as in expert 0",
                       label_of(c, t), t->name, t->dims[0], t->dims[1], first->dims[0],
                       first->dims[1]);
    if (t->dtype != first->dtype || (stack->n > 0 && how != stack->scale))
        return err_set(c->err, -EINVAL,
                       "'%s', tensor '%.100s': found type %s, expected %s as in "
                       "expert 0%s",
                       label_of(c, t), t->name, st_dtype_name[t->dtype],
                       st_dtype_name[first->dtype],
                       t->dtype == first->dtype ? ", and scales of one type" : "");
    stack->scale = how;
    stack->n++;
    return 0;
}

/* The items [0, n) of one tensor: all experts, or one. */
static int add_tensor(struct checkpoint *c, const struct item *item, size_t n, uint32_t *sources)
{
    const struct st_tensor *first = &c->list.tensor[item->source];
    bool stacked = item->name.expert >= 0;
    size_t expected = stacked ? (size_t)c->config.experts : 1;
    for (size_t i = 0; stacked && i < (n < expected ? n + 1 : n); i++) {
        struct hf_name missing = item->name;
        char name[128];
        if (i < n && (size_t)item[i].name.expert == i && i < expected)
            continue;
        missing.expert = (int)i;
        hf_name_hf(&missing, name, sizeof name);
        if (i < expected)
            return err_set(c->err, -EINVAL,
                           "'%.160s', tensor '%s': it is missing, expected experts 0 "
                           "to %zu",
                           c->format->path, name, expected - 1);
        return err_set(c->err, -EINVAL,
                       "'%s', tensor '%.100s': found an expert beyond the %zu that "
                       "config.json has",
                       label_of(c, &c->list.tensor[item[i].source]),
                       c->list.tensor[item[i].source].name, expected);
    }

    enum mk_type type;
    int r = type_of(c, first, &type);
    if (r < 0)
        return r;
    if (first->n_dims < 1 || first->n_dims > 2)
        return err_set(c->err, -EINVAL,
                       "'%s', tensor '%.100s': found %d dimensions, expected 1 or 2",
                       label_of(c, first), first->name, first->n_dims);
    struct stack *stack = &c->format->stack[c->format->n_tensors];
    *stack = (struct stack){.first = *sources};
    for (size_t i = 0; i < n; i++) {
        r = add_source(c, &c->list.tensor[item[i].source], first, stack);
        if (r < 0)
            return r;
    }
    *sources += stack->n;

    char name[FORMAT_NAME_BYTES];
    uint64_t dims[3] = {first->dims[first->n_dims - 1], first->dims[0], n};
    hf_name_gguf(&item->name, name, sizeof name);
    return format_add_tensor(c->format, first->part, name, strlen(name), type, dims,
                             first->n_dims + stacked, first->offset, c->err);
}

static size_t group(const struct checkpoint *c, size_t at)
{
    size_t n = 1;
    while (at + n < c->n_items && c->item[at + n].name.layer == c->item[at].name.layer &&
           c->item[at + n].name.row == c->item[at].name.row)
        n++;
    return n;
}

static int assemble(struct checkpoint *c)
{
    struct format *f = c->format;
    size_t tensors = 0;
    for (size_t at = 0; at < c->n_items; at += group(c, at))
        tensors++;
    f->stack = calloc(tensors + 1, sizeof *f->stack);
    f->source = calloc(c->n_items + 1, sizeof *f->source);
    if (!f->stack || !f->source)
        return err_set(c->err, -ENOMEM, "no memory for %zu tensors", c->n_items);
    int r = format_expect_tensors(f, 0, tensors, c->err);
    uint32_t sources = 0;
    size_t n;
    for (size_t at = 0; at < c->n_items && r == 0; at += n) {
        n = group(c, at);
        r = add_tensor(c, &c->item[at], n, &sources);
    }
    if (r == 0 && !c->config.tied && !find(c, "lm_head.weight"))
        r = err_set(c->err, -EINVAL,
                    "'%.160s', tensor 'lm_head.weight': it is missing, and "
                    "config.json does not say tie_word_embeddings",
                    f->path);
    return r;
}

/* ------------------------------------------------------------------ the whole */

static int put_blocks(struct checkpoint *c, struct meta *meta, bool has_mtp)
{
    int mtp = has_mtp ? c->config.mtp_layers : 0;
    int r = meta_put_u32(meta, "deepseek2.block_count", (uint32_t)(c->config.layers + mtp));
    if (r == 0 && mtp)
        r = meta_put_u32(meta, "deepseek2.nextn_predict_layers", (uint32_t)mtp);
    return r < 0 ? err_set(c->err, r, "no memory to open '%.160s'", c->format->path) : 0;
}

static int read_all(struct checkpoint *c, bool is_folder, struct meta *meta)
{
    struct format *f = c->format;
    int r = open_files(c, is_folder);
    if (r < 0)
        return r;
    if (f->n_parts > 1)
        snprintf(f->kind, sizeof f->kind, "safetensors in %d files", f->n_parts);
    else
        snprintf(f->kind, sizeof f->kind, f->n_parts ? "safetensors" : "tokenizer");
    bool has_mtp = false;
    c->config = (struct hf_config){.bos = -1, .eos = -1, .eot = -1};
    if (f->n_parts) {
        r = hf_config_read(&c->folder, meta, &c->config, c->err);
        if (r == 0)
            r = read_headers(c);
        if (r == 0)
            r = collect(c, &has_mtp);
        if (r == 0)
            r = put_blocks(c, meta, has_mtp);
        if (r == 0)
            r = assemble(c);
    }
    if (r == 0)
        r = hf_tokenizer_read(&c->folder, &c->config, meta, c->err);
    return r < 0 ? r : meta_seal(meta, c->err);
}

static int hf_open(const char *path, struct format *format, struct err *err)
{
    bool is_folder = format->n_parts == 0;
    size_t n = strlen(path);
    OWN_MEM char *inside = malloc(n + 2);
    if (!inside || meta_new(format->path, HF_MAX_KEYS, &format->meta) < 0)
        return err_set(err, -ENOMEM, "no memory to open '%.160s'", path);
    snprintf(inside, n + 2, "%s%s", path, is_folder && path[n - 1] != '/' ? "/" : "");
    OWN_FD fd = -1;
    int r = format_folder(format, inside, &fd, err);
    if (r < 0)
        return r;
    struct checkpoint c = {.format = format, .err = err, .folder = {.fd = fd, .beside = inside}};
    r = read_all(&c, is_folder, format->meta);
    hf_text_fini(&c.index);
    free(c.listed);
    free(c.list.tensor);
    for (int i = 0; c.header && i < format->n_parts; i++)
        free(c.header[i]);
    free(c.header);
    free(c.by_name);
    free(c.item);
    return r;
}

/* A safetensors file, or a JSON file of a checkpoint's folder. */
static bool hf_sniff(const void *head, size_t bytes)
{
    const char *c = head;
    size_t i = 0;
    while (i < bytes && (c[i] == ' ' || c[i] == '\n' || c[i] == '\r' || c[i] == '\t'))
        i++;
    return (i < bytes && c[i] == '{') || safetensors_sniff(head, bytes);
}

const struct format_reader format_safetensors = {
    .name = "safetensors",
    .sniff = hf_sniff,
    .open = hf_open,
};
