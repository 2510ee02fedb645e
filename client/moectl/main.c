/* SPDX-License-Identifier: MIT
 *
 * moectl: the daemon from a shell. The table of verbs, and nothing else. One thread.
 */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moectl/help.h"
#include "moectl/verb.h"

const struct verb verb_table[] = {
    {"ask", "WORD...", "Ask a chat model once",
     "The words are the question; standard input is appended where it is no\n"
     "terminal. The answer goes to standard output, thinking and one line of\n"
     "figures to standard error. Ctrl-C stops the daemon's work too.\n"
     "With --tools the model may call functions: each call is a line of its name\n"
     "and arguments, or an object in \"calls\" with --json.\n"
     "With --session the daemon holds the conversation: the question is the next of\n"
     "it, and without one an answer that was cut goes on.\n",
     GROUP_MODEL | GROUP_CHAT | GROUP_TOOLS | GROUP_SEVERAL | GROUP_SAMPLING | GROUP_SAVE |
         GROUP_SESSION,
     0, -1, verb_ask},
    {"chat", "", "Talk with a chat model",
     "Lines are messages; /help lists commands, // begins a message with a slash.\n"
     "Ctrl-C stops the answer only. The history of the terminal is kept in\n"
     "$XDG_STATE_HOME/moed/history. With --session the daemon holds the talk, and\n"
     "the same name goes on with it another time.\n",
     GROUP_MODEL | GROUP_CHAT | GROUP_SAMPLING | GROUP_SAVE | GROUP_SESSION, 0, 0, verb_chat},
    {"session", "[COMMAND [ARG]...]", "Conversations that the daemon holds",
     "  list                          what was used last comes first\n"
     "  show NAME                     what was said\n"
     "  create [NAME]                 with settings for all its turns, by options\n"
     "  fork NAME NEW [M [TOKENS]]    a second one that begins as the first M messages\n"
     "  rewind NAME M [TOKENS]        back to the first M messages\n"
     "  name NAME NEW                 another name\n"
     "  pin NAME, unpin NAME          what the model has of it stays in memory, or not\n"
     "  park NAME                     that goes to the disk, and from memory\n"
     "  resume NAME                   and back, ahead of the next turn\n"
     "  delete NAME...\n"
     "NAME is a name or an id. TOKENS of the answer behind M messages stay too, and\n"
     "the next answer goes on from them; of raw text M is 0. With --json a session is\n"
     "an object; list prints {\"sessions\": [...]}, show {\"session\", \"said\": [...]}.\n",
     GROUP_MODEL | GROUP_CHAT | GROUP_SAMPLING, 0, -1, verb_session},
    {"generate", "", "Continue a raw text",
     "The prompt is --raw, --tokens-in or standard input, byte for byte. Special\n"
     "tokens are parsed and BOS is put in front where the model's file says so.\n"
     "With --suffix both are plain text, and the answer is what stands between\n"
     "them; models for code know how.\n"
     "What is not given is the daemon's default; --temperature 0 is greedy.\n"
     "With --json one object: prompt_tokens, prompt_logprobs (if asked for: as\n"
     "tokens, from the prompt's second on), tokens (id, text, logprob, top),\n"
     "finish_reason, usage, receipt (what computed it: model, version, place, isa,\n"
     "cache, attention, sampler, seed, cached_rows). A token whose bytes are no text\n"
     "by themselves has them in \"bytes\" as well. Log-probabilities are natural,\n"
     "taken before temperature and filters. With --session the daemon holds the\n"
     "text, and the prompt is what comes next in it.\n",
     GROUP_MODEL | GROUP_RAW | GROUP_SEVERAL | GROUP_SAMPLING | GROUP_SAVE | GROUP_SESSION, 0, 0,
     verb_generate},
    {"tokenize", "", "Turn standard input into token ids", NULL, GROUP_MODEL | GROUP_TOKENIZE, 0, 0,
     verb_tokenize},
    {"detokenize", "[ID]...", "Turn token ids into text",
     "Ids are separated by spaces or commas. Without any, standard input is read:\n"
     "ids, or the object that 'tokenize --json' prints.\n",
     GROUP_MODEL | GROUP_DETOKENIZE, 0, -1, verb_detokenize},
    {"render", "WORD...", "Show the prompt that a question becomes",
     "Takes the question as ask does and generates nothing.\n",
     GROUP_MODEL | GROUP_CHAT | GROUP_TOOLS, 0, -1, verb_render},
    {"embed", "WORD...", "Turn a text into a vector",
     "The words are the text; standard input is appended where it is no terminal.\n"
     "A number a line. Chat models are no embedding models, so that without\n"
     "--pooling the daemon gives advice instead.\n",
     GROUP_MODEL | GROUP_EMBED, 0, -1, verb_embed},
    {"status", "", "Show the daemon, its models and what to do next", NULL, 0, 0, 0, verb_status},
    {"ps", "", "List running generations",
     "With their class, what was known of their prompts and how fast they go; and how\n"
     "requests have fared, in percentiles, as stats has it.\n",
     0, 0, 0, verb_ps},
    {"stats", "", "Show how requests fare, in percentiles",
     "For each loaded model. Half of all values are at most what stands under P50,\n"
     "and so on, as far as buckets tell. --experts adds, for each layer, the experts\n"
     "that were chosen most of late (what was ten minutes ago counts half) and their\n"
     "share; --json has all of them, and the buckets.\n",
     GROUP_STATS, 0, 0, verb_stats},
    {"list", "", "List models", "With --quiet their names alone, one a line.\n", 0, 0, 0,
     verb_list},
    {"show", "[NAME]", "Show a model and its file's metadata", NULL, GROUP_MODEL, 0, 1, verb_show},
    {"load", "[NAME]", "Load a model's weights",
     "On a terminal a bar shows how far it is; with --json there is a line for each\n"
     "step, the model as it is then, and the last one is the answer.\n",
     GROUP_MODEL | GROUP_LOAD, 0, 1, verb_load},
    {"unload", "[NAME]", "Free a model's weights", NULL, GROUP_MODEL, 0, 1, verb_unload},
    {"plan", "FILE", "What memory a model file would take, and whether it fits", NULL, 0, 1, 1,
     verb_plan},
    {"replay", "FILE", "Have saved answers computed again, and compare",
     "FILE is what --save of ask, chat and generate wrote: a line each answer, with\n"
     "all that its session held, which may be gone by now. Its\n"
     "receipt says what computed it and which rows of the prompt had been read and\n"
     "which written before; the daemon makes them so again, whatever it has kept,\n"
     "and the answer has the same bytes. Where another model, processor or setting\n"
     "would compute it, that is told instead, and nothing is computed; --anyway\n"
     "does it nevertheless. The exit code is 1 if an answer is another one.\n",
     GROUP_REPLAY, 1, 1, verb_replay},
    {"bench", "", "Load the daemon, and tell how long its clients wait",
     "Each client is a connection that asks again as soon as it is answered, or,\n"
     "with --rate, when the next request is due: at random times that do not wait\n"
     "for answers. Prompts are made up and have the lengths that are asked for, and\n"
     "so have answers; of a range N-M each length is as likely as another. Without\n"
     "--requests and --duration there are ten requests a client. Ctrl-C ends it\n"
     "early, and what was measured is told. All times are seconds as seen here but\n"
     "the queue's, which is the daemon's word; those of a request count from when it\n"
     "was due. The exit code is 1 if a request failed.\n",
     GROUP_MODEL | GROUP_BENCH, 0, 0, verb_bench},
    {"config", "cat|check|get|set [KEY] [VALUE]", "Show, check or change the configuration",
     "cat prints every key with the file and line that set it, get the value of one.\n"
     "set writes a key into a file of its own, moed.conf.d/90-set.conf; a list is\n"
     "replaced by the value. check looks at all files, or at the one that is named.\n"
     "No daemon is asked: 'moectl reload' tells it.\n",
     GROUP_CONFIG, 1, 3, verb_config},
    {"doctor", "", "Look for what stands in the daemon's way",
     "The socket and who may use it, the daemon's sandbox and control group, the\n"
     "processor, huge pages, nodes of memory, room on the disk: what was found, and\n"
     "what to do about it. The exit code is 1 if there is a fault.\n",
     0, 0, 0, verb_doctor},
    {"reload", "", "Have the daemon read its configuration again",
     "All of it counts then, or nothing where it has a fault. Says which changes\n"
     "count at once, which for models that are loaded from now on, and which need\n"
     "another start. For root and whom Operator= names.\n",
     0, 0, 0, verb_reload},
    {"log", "[FIELD=VALUE]...", "Show the daemon's log, which the journal keeps",
     "The last hundred lines, or those since a time. Fields choose some: MODEL=NAME,\n"
     "PEER=UID, SEQ=N (a request's number), ROOM=NAME, PRIORITY=4 (warnings).\n"
     "journalctl is run for it; the journal's own rules say who may read what. With\n"
     "--json there is an object for each line, with all its fields.\n",
     GROUP_LOG, 0, -1, verb_log},
    {"rpc", "METHOD [JSON]", "Call a method of moed.v1.Engine",
     "The request is a JSON object of the message's fields; \"-\" reads it from\n"
     "standard input. Bytes are lower-case hex, enums go by name, numbers of 64\n"
     "bits may be strings. A stream prints one object a line.\n",
     0, 1, 2, verb_rpc},
    {0},
};

static int run(const struct options *o)
{
    if (o->version) {
        printf("moectl %s, libmoed %s\n", MOED_VERSION, moed_version());
        return EXIT_DONE;
    }
    if (o->help)
        return help_print(o);
    return o->verb->run(o);
}

/* A full disk must not look like success; a closed pipe needs no words. */
static int check_output(int r)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return r;
    if (errno != EPIPE)
        fprintf(stderr, "moectl: cannot write the answer: %s\n",
                errno ? strerror(errno) : "output error");
    return r == EXIT_DONE ? EXIT_FAILED : r;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, ""); /* for line editing; numbers stay those of the C locale */
    if (MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8"); /* a bare container: text is UTF-8 all the same */
    signal(SIGPIPE, SIG_DFL);
    struct options o;
    int r = options_parse(argc, argv, &o);
    if (r == 0)
        r = run(&o);
    options_fini(&o);
    return check_output(r);
}
