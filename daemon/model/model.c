/* SPDX-License-Identifier: MIT */
#include "model/model.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "format/format.h"
#include "model/kept.h"
#include "model/parts.h"
#include "place/place.h"
#include "text/chat.h"
#include "text/token.h"

struct model {
    struct format *format;
    struct vocab *vocab;
    const struct chat_family *chat;
    const struct arch *arch; /* NULL: text only */
    struct hparams hp;
    struct plan plan;
    struct loaded loaded;
    struct model_info info;
    char name[256];
};

/* general.file_type is only a label: the types of the tensors decide. */
static const struct {
    uint32_t id;
    const char *name;
} file_types[] = {
    {0, "F32"},      {1, "F16"},      {2, "Q4_0"},    {3, "Q4_1"},    {7, "Q8_0"},
    {8, "Q5_0"},     {9, "Q5_1"},     {10, "Q2_K"},   {11, "Q3_K_S"}, {12, "Q3_K_M"},
    {13, "Q3_K_L"},  {14, "Q4_K_S"},  {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"},
    {18, "Q6_K"},    {19, "IQ2_XXS"}, {20, "IQ2_XS"}, {21, "Q2_K_S"}, {22, "IQ3_XS"},
    {23, "IQ3_XXS"}, {24, "IQ1_S"},   {25, "IQ4_NL"}, {26, "IQ3_S"},  {27, "IQ3_M"},
    {28, "IQ2_S"},   {29, "IQ2_M"},   {30, "IQ4_XS"}, {31, "IQ1_M"},  {32, "BF16"},
    {36, "TQ1_0"},   {37, "TQ2_0"},   {38, "MXFP4"},
};

static const char *file_type_name(const struct meta *meta)
{
    uint32_t id;
    struct err ignored;
    if (meta_u32(meta, "general.file_type", &id, &ignored) == 0)
        for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
            if (file_types[i].id == id)
                return file_types[i].name;
    return "";
}

/* Cuts "-00001-of-00002" off the end. */
static void cut_split_suffix(char *name)
{
    static const char pattern[] = "-#####-of-#####";
    size_t n = strlen(name), m = sizeof pattern - 1;
    if (n <= m)
        return;
    for (size_t i = 0; i < m; i++) {
        char c = name[n - m + i];
        if (pattern[i] == '#' ? !isdigit((unsigned char)c) : c != pattern[i])
            return;
    }
    name[n - m] = '\0';
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcasecmp(text + n - m, end) == 0;
}

/* One of many files of a checkpoint, which has its name from its folder. */
static bool is_checkpoint_file(const char *base)
{
    return ends_with(base, ".json") ||
           (!strncmp(base, "model", 5) && ends_with(base, ".safetensors"));
}

void model_name(const char *path, char *dst, size_t size)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && path[from - 1] != '/')
        from--;
    if (from > 1 && is_checkpoint_file(path + from)) {
        n = from - 1;
        for (from = n; from > 0 && path[from - 1] != '/';)
            from--;
    }
    snprintf(dst, size, "%.*s", (int)(n - from), path + from);
    if (ends_with(dst, ".gguf"))
        dst[strlen(dst) - 5] = '\0';
    else if (ends_with(dst, ".safetensors"))
        dst[strlen(dst) - 12] = '\0';
    cut_split_suffix(dst);
}

static int open_weights_plan(struct model *m, struct err *err)
{
    int r = arch_find(m->format, &m->arch, err);
    if (r == 0)
        r = m->arch->hparams(m->format, &m->hp, err);
    if (r == 0)
        r = plan_make(m->arch, &m->hp, m->format, &m->plan, err);
    if (r < 0)
        return r;
    /* Files pad the embedding beyond the vocabulary; the other way round ids would have no row. */
    if (vocab_size(m->vocab) > m->hp.vocab)
        return err_set(err, -EINVAL, "%s: the vocabulary has %d tokens, but the embedding %d rows",
                       format_path(m->format), vocab_size(m->vocab), m->hp.vocab);
    return 0;
}

static void fill_info(struct model *m, const char *path)
{
    model_name(path, m->name, sizeof m->name);
    m->info = (struct model_info){
        .name = m->name,
        .path = format_path(m->format),
        .family = m->arch ? m->arch->name : "text",
        .chat = m->chat ? m->chat->name : NULL,
        .file_type = file_type_name(format_meta(m->format)),
        .kind = format_kind(m->format),
        .file_bytes = format_file_bytes(m->format),
        .parameters = m->plan.parameters,
        .context = (uint32_t)m->hp.context,
        .vocab = (uint32_t)vocab_size(m->vocab),
        .text_only = !m->arch,
        .has_mtp = m->plan.has_mtp,
    };
    for (int i = 0; i < m->plan.n; i++) {
        const struct mat *mat = &m->plan.item[i].mat;
        m->info.weight_bytes +=
            mk_row_bytes(mat->type, (size_t)mat->k) * (uint64_t)mat->n * (uint64_t)mat->count;
    }
}

/* `folder`: -1, or where alone the name is looked up. */
static int open_model(int folder, const char *path, struct model **ret, struct err *err)
{
    OWN(model) *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, -ENOMEM, "no memory to open '%s'", path);
    int r = folder < 0 ? format_open(path, &m->format, err)
                       : format_open_at(folder, path, &m->format, err);
    if (r == 0)
        r = vocab_open(format_meta(m->format), &m->vocab, err);
    if (r == 0 && format_n_tensors(m->format) > 0)
        r = open_weights_plan(m, err);
    if (r < 0)
        return r;
    m->chat = chat_detect(format_meta(m->format), m->vocab);
    fill_info(m, path);
    *ret = TAKE(m);
    return 0;
}

int model_open(const char *path, struct model **ret, struct err *err)
{
    return open_model(-1, path, ret, err);
}

int model_open_at(int folder, const char *path, struct model **ret, struct err *err)
{
    return open_model(folder, path, ret, err);
}

void model_close(struct model *m)
{
    if (!m)
        return;
    model_unload(m);
    plan_fini(&m->plan);
    vocab_close(m->vocab);
    format_close(m->format);
    free(m);
}

const struct model_info *model_info(const struct model *m)
{
    return &m->info;
}

const struct hparams *model_hparams(const struct model *m)
{
    return m->arch ? &m->hp : NULL;
}

const struct vocab *model_vocab(const struct model *m)
{
    return m->vocab;
}

const struct chat_family *model_chat(const struct model *m)
{
    return m->chat;
}

const struct format *model_format(const struct model *m)
{
    return m->format;
}

const struct arch *model_arch(const struct model *m)
{
    return m->arch;
}

const struct plan *model_plan(const struct model *m)
{
    return &m->plan;
}

struct loaded *model_weights(struct model *m)
{
    return &m->loaded;
}

const struct loaded *model_loaded(const struct model *m)
{
    return &m->loaded;
}

static void print_shape(const struct hparams *hp, FILE *out)
{
    fprintf(out, "layers      %d, %d of them dense", hp->layers, hp->dense_layers);
    if (hp->mtp_layers)
        fprintf(out, "; %d prediction block kept aside", hp->mtp_layers);
    fprintf(out, "\nattention   hidden %d, %d heads of %d + %d (values %d), latent %d", hp->hidden,
            hp->heads, hp->nope, hp->rope_dims, hp->value, hp->latent);
    if (hp->q_rank)
        fprintf(out, ", query latent %d", hp->q_rank);
    fputc('\n', out);
    if (hp->experts)
        fprintf(out, "experts     %d of %d, %d shared, %s, %d of %d groups\n", hp->experts_used,
                hp->experts, hp->experts_shared,
                hp->route.gate == MK_GATE_SIGMOID ? "sigmoid" : "softmax", hp->route.n_groups_used,
                hp->route.n_groups);
    fprintf(out, "rope        theta %g", hp->rope.theta);
    if (hp->rope.yarn)
        fprintf(out, ", YaRN factor %g over %g", hp->rope.factor, hp->rope.original_context);
    fputc('\n', out);
    if (hp->warn_no_mscale)
        fprintf(out, "warning     YaRN without yarn_log_multiplier: attention is not rescaled\n");
}

void model_print(const struct model *m, FILE *out)
{
    const struct model_info *i = &m->info;
    fprintf(out, "file        %s\n", i->path);
    fprintf(out, "container   %s, %d tensors, %.1f MB\n", i->kind, format_n_tensors(m->format),
            (double)i->file_bytes / 1e6);
    fprintf(out, "family      %s%s%s\n", i->family, *i->file_type ? ", " : "", i->file_type);
    if (m->arch) {
        fprintf(out, "parameters  %.1f M, %.1f MB of weights\n", (double)i->parameters / 1e6,
                (double)i->weight_bytes / 1e6);
        print_shape(&m->hp, out);
        fprintf(out, "context     %u tokens\n", i->context);
    }
    fprintf(out, "vocabulary  %u tokens, %s\n", i->vocab, vocab_pre(m->vocab));
    fprintf(out, "chat        %s\n", i->chat ? i->chat : "none");
}

static int load(struct model *m, struct place *place, bool keep,
                bool (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
                struct err *err)
{
    if (!m->arch)
        return err_set(err, -ENOTSUP, "%s holds a vocabulary and no weights", m->info.path);
    if (m->loaded.place)
        return err_set(err, -EEXIST, "%s is loaded already", m->info.path);
    return weights_load(&m->plan, &m->hp, m->format, place, keep, progress, arg, &m->loaded, err);
}

int model_load(struct model *m, struct place *place,
               bool (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct err *err)
{
    return load(m, place, false, progress, arg, err);
}

int model_load_kept(struct model *m, struct place *place,
                    bool (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
                    struct err *err)
{
    return load(m, place, true, progress, arg, err);
}

int model_bind(struct model *m, struct place *place, struct spread *spread, struct sums *sums,
               struct err *err)
{
    if (m->loaded.place)
        return err_set(err, -EEXIST, "%s is loaded already", m->info.path);
    int r = weights_take_over(&m->plan, &m->hp, place, spread, sums, &m->loaded);
    return r < 0 ? err_set(err, r, "%s: no memory to take weights over", m->info.path) : 0;
}

void model_unload(struct model *m)
{
    weights_unload(&m->loaded);
}

bool model_is_loaded(const struct model *m)
{
    return m->loaded.place != NULL;
}
