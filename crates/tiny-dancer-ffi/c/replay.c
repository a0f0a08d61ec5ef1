/* replay CASES ANSWERS: what tests/integration/doors.py asks every binding, by the C ABI.
 *
 * Both files are netstrings, one after the other: "5:hello". CASES: how many cases; of each its encoder's path (or
 * nothing) and how many steps; of each step its operation and two arguments, each a letter and a text: t a text, f the
 * path of a file, a the answer before. ANSWERS: of each case how many answers, and those.
 */

#include <math.h>

#include "files.h"

static bytes cases;
static size_t at;

static bytes next(void) {
  char *end = NULL;
  size_t length = strtoull(cases.data + at, &end, 10);
  if (end == NULL || *end != ':') stop("no netstring");
  bytes found = {end + 1, length};
  at = (size_t)(end + 1 - cases.data) + length;
  return found;
}

static size_t next_number(void) {
  bytes text = next();
  char digits[32] = {0};
  memcpy(digits, text.data, text.length < 31 ? text.length : 31);
  return strtoull(digits, NULL, 10);
}

static int is(bytes text, const char *name) {
  return text.length == strlen(name) && memcmp(text.data, name, text.length) == 0;
}

/* One encoder, and what was made last with it. */
typedef struct {
  char path[4096];
  td_encoder *encoder;
  td_router *router;
  td_routes *routes;
  td_tools *tools;
  td_agents *agents;
  td_candidates *candidates;
  td_tasks *tasks;
} instance;

static instance instances[8];

static instance *instance_of(bytes path) {
  for (size_t place = 0; place < 8; place++) {
    instance *one = &instances[place];
    if (one->path[0] != 0 && is(path, one->path + 1)) return one;
    if (one->path[0] != 0) continue;
    one->path[0] = '/';
    memcpy(one->path + 1, path.data, path.length);
    if (path.length > 0) {
      bytes file = read_file(one->path + 1);
      must(td_encoder_load((const uint8_t *)file.data, file.length, &one->encoder));
      free(file.data);
    }
    return one;
  }
  stop("too many encoders");
  return NULL;
}

static void clear(instance *one) {
  td_router_free(&one->router);
  td_routes_free(&one->routes);
  td_tools_free(&one->tools);
  td_agents_free(&one->agents);
  td_candidates_free(&one->candidates);
  td_tasks_free(&one->tasks);
}

static td_code perform(instance *one, bytes operation, bytes first, bytes second, td_text *answer) {
  const uint8_t *data = (const uint8_t *)first.data;
  *answer = (td_text){0};
  if (is(operation, "router")) {
    clear(one);
    return td_router_load(data, first.length, one->encoder, second.data, second.length, NULL, 0, &one->router);
  }
  if (is(operation, "routes")) {
    clear(one);
    return td_routes_load(data, first.length, one->encoder, &one->routes);
  }
  if (is(operation, "tools")) {
    clear(one);
    return td_tools_new(data, first.length, one->encoder, &one->tools);
  }
  if (is(operation, "agents")) {
    clear(one);
    char digits[64] = {0};
    memcpy(digits, first.data, first.length < 63 ? first.length : 63);
    return td_agents_new(first.length == 0 ? (double)NAN : strtod(digits, NULL), &one->agents);
  }
  if (is(operation, "candidates")) {
    clear(one);
    return td_candidates_new(data, first.length, one->encoder, NULL, 0, &one->candidates);
  }
  if (is(operation, "tasks")) {
    clear(one);
    return td_tasks_load(data, first.length, one->encoder, &one->tasks);
  }
  if (is(operation, "decide"))
    return td_router_decide(one->router, first.data, first.length, second.data, second.length, answer);
  if (is(operation, "route"))
    return td_routes_decide(one->routes, first.data, first.length, second.data, second.length, answer);
  if (is(operation, "addTools")) return td_tools_add(one->tools, first.data, first.length, answer);
  if (is(operation, "select")) return td_tools_select(one->tools, first.data, first.length, answer);
  if (is(operation, "putAgents")) return td_agents_put(one->agents, first.data, first.length);
  if (is(operation, "choose")) return td_agents_choose(one->agents, first.data, first.length, answer);
  if (is(operation, "observe"))
    return td_agents_observe(one->agents, first.data, first.length, second.data, second.length, answer);
  if (is(operation, "addCandidates")) return td_candidates_add(one->candidates, first.data, first.length, NULL, 0);
  if (is(operation, "rank"))
    return td_candidates_rank(one->candidates, first.data, first.length, NULL, 0, answer);
  if (is(operation, "classify")) return td_tasks_classify(one->tasks, first.data, first.length, answer);
  stop("an unknown operation");
  return TD_CODE_OK;
}

/* An argument; of a file, bytes to free. */
static bytes argument(td_text before, char **owned) {
  bytes kind = next(), text = next();
  *owned = NULL;
  if (is(kind, "a")) return (bytes){before.data, before.length};
  if (is(kind, "t")) return text;
  char path[4096] = {0};
  memcpy(path, text.data, text.length);
  bytes file = read_file(path);
  *owned = file.data;
  return file;
}

int main(int count, char **arguments) {
  if (count != 3) stop("usage: replay CASES ANSWERS");
  cases = read_file(arguments[1]);
  cases.data[cases.length] = 0;
  FILE *out = fopen(arguments[2], "wb");
  if (out == NULL) stop(arguments[2]);
  for (size_t left = next_number(); left > 0; left--) {
    instance *one = instance_of(next());
    size_t steps = next_number(), done = 0;
    td_text answers[64] = {{0}};
    if (steps > 64) stop("too many steps");
    int refused = 0;
    for (size_t step = 0; step < steps; step++) {
      bytes operation = next();
      char *owned[2];
      bytes first = argument(step == 0 ? (td_text){0} : answers[step - 1], &owned[0]);
      bytes second = argument((td_text){0}, &owned[1]);
      if (!refused) {
        refused = perform(one, operation, first, second, &answers[done]) != TD_CODE_OK;
        if (refused) must(td_error_json(&answers[done]));
        done++;
      }
      free(owned[0]);
      free(owned[1]);
    }
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%zu", done);
    fprintf(out, "%d:%s", length, digits);
    for (size_t step = 0; step < done; step++) {
      fprintf(out, "%zu:", answers[step].length);
      fwrite(answers[step].length == 0 ? "" : answers[step].data, 1, answers[step].length, out);
      td_text_free(&answers[step]);
    }
  }
  for (size_t place = 0; place < 8; place++) {
    clear(&instances[place]);
    td_encoder_free(&instances[place].encoder);
  }
  free(cases.data);
  return fclose(out) == 0 ? 0 : 1;
}
