/* Everything a C program can do wrong that a library can notice, from one thread and from many, with panics.
 *
 *   hostile ARTIFACT DAMAGED: an artifact that needs no encoder, and the same damaged. Linked with the feature
 *   `forced-panic`, without which there is no td_force_panic.
 */

#include <math.h>
#include <pthread.h>

#include "files.h"

void td_force_panic(uint32_t place);

static _Atomic int checks;

static void check(int holds, const char *what, int line) {
  checks++;
  if (holds) return;
  fprintf(stderr, "line %d: %s\n  last error: %s: %s\n", line, what, td_error_kind(), td_error_message());
  exit(1);
}

#define CHECK(holds) check((holds) != 0, #holds, __LINE__)
#define REFUSED(call, with) check((call) == TD_CODE_##with, #call " is " #with, __LINE__)
#define ABOUT(name) check(strcmp(td_error_field(), name) == 0, "the error is about " name, __LINE__)
#define TEXT(text) (text), strlen(text)

static const char WHY[] = "\"Why?\"";

static td_router *load(bytes artifact, const char *breaker) {
  td_router *router = NULL;
  must(td_router_load((const uint8_t *)artifact.data, artifact.length, NULL, NULL, 0, breaker,
                      breaker == NULL ? 0 : strlen(breaker), &router));
  return router;
}

static void pointers(bytes artifact) {
  const uint8_t *data = (const uint8_t *)artifact.data;
  td_router *router = load(artifact, NULL);
  td_text answer;
  memset(&answer, 0x5A, sizeof answer); /* garbage is not looked at */

  REFUSED(td_router_decide(NULL, TEXT(WHY), NULL, 0, &answer), ARGUMENT_INVALID);
  ABOUT("router");
  CHECK(answer.data == NULL && answer.length == 0);
  td_text_free(&answer);
  REFUSED(td_router_decide(router, TEXT(WHY), NULL, 0, NULL), ARGUMENT_INVALID);
  ABOUT("answer");
  REFUSED(td_router_decide(router, NULL, 5, NULL, 0, &answer), ARGUMENT_INVALID);
  ABOUT("request");
  REFUSED(td_router_decide(router, WHY, SIZE_MAX, NULL, 0, &answer), ARGUMENT_INVALID);
  REFUSED(td_router_decide(router, NULL, 0, NULL, 0, &answer), REQUEST_INVALID);
  REFUSED(td_router_decide(router, WHY, 0, NULL, 0, &answer), REQUEST_INVALID);
  REFUSED(td_router_decide(router, "\"\xff\xfe\"", 4, NULL, 0, &answer), REQUEST_INVALID);
  ABOUT("request");
  CHECK(strcmp(td_error_remedy(), "give UTF-8") == 0);
  REFUSED(td_router_decide(router, TEXT(WHY), "\xc3", 1, &answer), REQUEST_INVALID);
  ABOUT("options");
  REFUSED(td_router_decide(router, "\"a\0b\"", 5, NULL, 0, &answer), REQUEST_INVALID);
  REFUSED(td_router_decide(router, TEXT(WHY), TEXT("{\"max_cost\": -1}"), &answer), OPTION_INVALID);
  ABOUT("max_cost");
  CHECK(strcmp(td_error_value(), "-1") == 0 && strcmp(td_error_kind(), "OptionInvalid") == 0);
  td_text detail;
  must(td_error_json(&detail));
  CHECK(strstr(detail.data, "\"code\":\"OptionInvalid\"") != NULL && strlen(detail.data) == detail.length);
  td_text_free(&detail);
  td_text_free(&detail);
  td_text_free(NULL);
  REFUSED(td_error_json(NULL), ARGUMENT_INVALID);

  /* Places for objects. */
  td_router *other = router;
  REFUSED(td_router_load(data, artifact.length, NULL, NULL, 0, NULL, 0, NULL), ARGUMENT_INVALID);
  REFUSED(td_router_load(NULL, artifact.length, NULL, NULL, 0, NULL, 0, &other), ARGUMENT_INVALID);
  CHECK(other == NULL);
  REFUSED(td_router_load(NULL, 0, NULL, NULL, 0, NULL, 0, &other), ARTIFACT_INVALID);
  REFUSED(td_router_load(data, artifact.length - 1, NULL, NULL, 0, NULL, 0, &other), ARTIFACT_INVALID);
  REFUSED(td_router_load(data, artifact.length, NULL, "[{]", 3, NULL, 0, &other), OPTION_INVALID);
  REFUSED(td_router_load(data, artifact.length, NULL, NULL, 0, "{\"jitter\": 2}", 13, &other), OPTION_INVALID);
  ABOUT("jitter");
  REFUSED(td_router_reload(router, NULL, 0), ARTIFACT_INVALID);
  REFUSED(td_router_status(NULL, &answer), ARGUMENT_INVALID);

  /* One kind of object in place of another, and NULL for each. */
  td_tools *tools = NULL;
  must(td_tools_new(NULL, 0, NULL, &tools));
  REFUSED(td_router_decide((td_router *)tools, TEXT(WHY), NULL, 0, &answer), ARGUMENT_INVALID);
  REFUSED(td_tools_select((td_tools *)router, TEXT("{}"), &answer), ARGUMENT_INVALID);
  REFUSED(td_tools_new(NULL, 0, (td_encoder *)router, &(td_tools *){NULL}), ARGUMENT_INVALID);
  ABOUT("encoder");
  td_router *wrong = (td_router *)tools;
  td_router_free(&wrong); /* noticed, and not freed as what it is not */
  CHECK(wrong == NULL);
  must(td_tools_add(tools, TEXT("[]"), &answer));
  td_text_free(&answer);
  REFUSED(td_tools_add(tools, TEXT("[{\"name\": 1}]"), &answer), CANDIDATE_INVALID);
  td_tools_free(&tools);
  CHECK(tools == NULL);
  td_tools_free(&tools);
  td_tools_free(NULL);

  REFUSED(td_routes_decide(NULL, TEXT(WHY), NULL, 0, &answer), ARGUMENT_INVALID);
  REFUSED(td_tools_select(NULL, TEXT("{}"), &answer), ARGUMENT_INVALID);
  REFUSED(td_agents_choose(NULL, TEXT("{}"), &answer), ARGUMENT_INVALID);
  REFUSED(td_agents_put(NULL, TEXT("{}")), ARGUMENT_INVALID);
  REFUSED(td_tasks_classify(NULL, TEXT("{}"), &answer), ARGUMENT_INVALID);
  REFUSED(td_encoder_load(NULL, 0, &(td_encoder *){NULL}), ARTIFACT_INVALID);
  REFUSED(td_encoder_load(data, artifact.length, &(td_encoder *){NULL}), ARTIFACT_INVALID);
  REFUSED(td_agents_new(-1.0, &(td_agents *){NULL}), OPTION_INVALID);
  REFUSED(td_agents_new(0.0, &(td_agents *){NULL}), OPTION_INVALID);
  td_router_free(&router);
  td_router_free(&router);
}

static void numbers(void) {
  td_candidates *candidates = NULL;
  must(td_candidates_new(NULL, 0, NULL, NULL, 0, &candidates));
  float rows[7] = {1, 0, 0, 1, 0.6F, 0.8F, 0};
  const float query[2] = {1, 0};
  td_ranked found[4];
  td_ranking ranking;

  must(td_candidates_rank_vector(candidates, query, 2, NULL, found, 4, &ranking));
  CHECK(ranking.count == 0);
  must(td_candidates_add_vectors(candidates, NULL, NULL, 0, 0));
  REFUSED(td_candidates_add_vectors(candidates, NULL, NULL, 1, 2), ARGUMENT_INVALID);
  REFUSED(td_candidates_add_vectors(candidates, NULL, rows, 3, 0), ARGUMENT_INVALID);
  ABOUT("dimensions");
  REFUSED(td_candidates_add_vectors(candidates, NULL, rows, SIZE_MAX / 2, 4), ARGUMENT_INVALID);
  REFUSED(td_candidates_add_vectors(candidates, NULL, rows, 1, SIZE_MAX / 4), ARGUMENT_INVALID);
  REFUSED(td_candidates_add_vectors(candidates, NULL, (float *)((char *)rows + 1), 1, 2), ARGUMENT_INVALID);
  CHECK(strcmp(td_error_value(), "misaligned") == 0);
  const char *ids[3] = {"a", NULL, "c"};
  REFUSED(td_candidates_add_vectors(candidates, ids, rows, 3, 2), ARGUMENT_INVALID);
  ABOUT("ids[1]");
  ids[1] = "a";
  REFUSED(td_candidates_add_vectors(candidates, ids, rows, 3, 2), CANDIDATE_INVALID);
  ids[1] = "\xff";
  REFUSED(td_candidates_add_vectors(candidates, ids, rows, 3, 2), REQUEST_INVALID);
  ids[1] = "b";
  must(td_candidates_add_vectors(candidates, ids, rows, 3, 2));
  REFUSED(td_candidates_add_vectors(candidates, NULL, rows, 2, 3), CANDIDATE_INVALID);

  must(td_candidates_rank_vector(candidates, query, 2, NULL, found, 4, &ranking));
  CHECK(ranking.count == 3 && ranking.level == 0 && !ranking.calibrated);
  CHECK(found[0].row == 0 && found[1].row == 2 && found[2].row == 1);
  must(td_candidates_rank_vector(candidates, query, 2, NULL, found, 1, NULL));
  REFUSED(td_candidates_rank_vector(candidates, query, 2, NULL, NULL, 4, &ranking), ARGUMENT_INVALID);
  REFUSED(td_candidates_rank_vector(candidates, query, 2, NULL, found, 0, &ranking), OPTION_INVALID);
  REFUSED(td_candidates_rank_vector(candidates, query, 1, NULL, found, 4, &ranking), CANDIDATE_INVALID);
  REFUSED(td_candidates_rank_vector(candidates, NULL, 2, NULL, found, 4, &ranking), ARGUMENT_INVALID);
  const float unsound[2] = {NAN, 0};
  REFUSED(td_candidates_rank_vector(candidates, unsound, 2, NULL, found, 4, &ranking), CANDIDATE_INVALID);
  const td_rank_options options = {7.0F, 0.5F, 0.5F};
  REFUSED(td_candidates_rank_vector(candidates, query, 2, &options, found, 4, &ranking), OPTION_INVALID);
  ABOUT("diversity");

  rows[4] = NAN; /* takes no part */
  must(td_candidates_rank_these(candidates, query, rows, 3, 2, NULL, found, 4, &ranking));
  CHECK(ranking.count == 2 && ranking.unsound == 1);
  must(td_candidates_rank_these(candidates, query, NULL, 0, 2, NULL, found, 4, &ranking));
  CHECK(ranking.count == 0);
  REFUSED(td_candidates_rank_these(candidates, query, NULL, 3, 2, NULL, found, 4, &ranking), ARGUMENT_INVALID);
  td_candidates_free(&candidates);
}

/* What the last error of a thread says is that thread's. */
static void *another_error(void *unused) {
  (void)unused;
  CHECK(td_error_message()[0] == 0);
  td_text answer;
  REFUSED(td_tools_select(NULL, NULL, 0, &answer), ARGUMENT_INVALID);
  ABOUT("tools");
  return NULL;
}

static void errors_are_of_their_thread(void) {
  REFUSED(td_agents_put(NULL, NULL, 0), ARGUMENT_INVALID);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, another_error, NULL) == 0 && pthread_join(thread, NULL) == 0);
  ABOUT("agents");
}

static void panics(bytes artifact) {
  td_router *plain = load(artifact, NULL), *guarded = load(artifact, "{\"jitter\": 0}");
  td_text answer, sound;
  must(td_router_decide(plain, TEXT(WHY), NULL, 0, &sound));
  for (uint32_t place = 1; place <= 2; place++) {
    td_force_panic(place);
    REFUSED(td_router_decide(plain, TEXT(WHY), NULL, 0, &answer), ENGINE_STOPPED);
    CHECK(strcmp(td_error_kind(), "EngineStopped") == 0 && strstr(td_error_message(), "forced by a test") != NULL);
    CHECK(answer.data == NULL);
    must(td_router_decide(plain, TEXT(WHY), NULL, 0, &answer));
    CHECK(strcmp(answer.data, sound.data) == 0);
    td_text_free(&answer);
  }
  /* With a breaker, every request is answered, and the answer says by whom. */
  for (int failure = 0; failure < 5; failure++) {
    td_force_panic(2);
    must(td_router_decide(guarded, TEXT(WHY), NULL, 0, &answer));
    CHECK(strstr(answer.data, "\"level_reason\":\"engine failure (it panicked: forced by a test); ") != NULL);
    td_text_free(&answer);
  }
  must(td_router_decide(guarded, TEXT(WHY), NULL, 0, &answer));
  CHECK(strstr(answer.data, "\"level_reason\":\"circuit open; ") != NULL);
  td_text_free(&answer);
  must(td_router_status(guarded, &answer));
  CHECK(strstr(answer.data, "\"state\":\"open\"") != NULL && strstr(answer.data, "\"engine\":5") != NULL);
  td_text_free(&answer);

  /* Of candidates, by JSON and by numbers. */
  td_candidates *candidates = NULL;
  must(td_candidates_new(NULL, 0, NULL, TEXT("{}"), &candidates));
  const float rows[4] = {0, 1, 1, 0}, query[2] = {1, 0};
  must(td_candidates_add_vectors(candidates, NULL, rows, 2, 2));
  td_ranked found[2];
  td_ranking ranking;
  td_force_panic(2);
  must(td_candidates_rank_vector(candidates, query, 2, NULL, found, 2, &ranking));
  CHECK(ranking.level == 3 && ranking.count == 2 && found[0].row == 0 && !found[0].use_lightweight);
  CHECK(found[0].confidence == 0.0F && found[0].uncertainty == 1.0F);
  td_force_panic(2);
  must(td_candidates_rank(candidates, TEXT("{}"), query, 2, &answer));
  CHECK(strstr(answer.data, "\"level\":3") != NULL);
  td_text_free(&answer);
  must(td_candidates_rank_vector(candidates, query, 2, NULL, found, 2, &ranking));
  CHECK(ranking.level == 0 && found[0].row == 1);
  must(td_candidates_status(candidates, &answer));
  CHECK(strstr(answer.data, "\"answered\":{\"learned\":1,\"heuristic\":0,\"default\":2}") != NULL);
  td_text_free(&answer);

  /* Nor does one cross anywhere else. */
  td_agents *agents = NULL;
  td_encoder *encoder = NULL;
  td_force_panic(1);
  REFUSED(td_agents_new((double)NAN, &agents), ENGINE_STOPPED);
  CHECK(agents == NULL);
  td_force_panic(1);
  REFUSED(td_encoder_load(NULL, 0, &encoder), ENGINE_STOPPED);
  td_force_panic(1);
  REFUSED(td_router_reload(plain, NULL, 0), ENGINE_STOPPED);
  td_force_panic(1);
  REFUSED(td_candidates_add(candidates, TEXT("[]"), NULL, 0), ENGINE_STOPPED);
  td_force_panic(1);
  td_candidates *freed = candidates;
  td_candidates_free(&freed); /* the panic is before anything is freed */
  CHECK(freed == candidates);
  td_candidates_free(&candidates);
  td_text_free(&sound);
  td_router_free(&plain);
  td_router_free(&guarded);
}

/* Many threads decide and rank while others reload and add. */
typedef struct {
  td_router *router;
  td_candidates *candidates;
  const char *expected;
  bytes artifact, damaged;
} shared;

static void *decides(void *given) {
  const shared *with = given;
  const float query[2] = {1, 0};
  for (int turn = 0; turn < 200; turn++) {
    td_text answer;
    must(td_router_decide(with->router, TEXT(WHY), NULL, 0, &answer));
    CHECK(strcmp(answer.data, with->expected) == 0);
    td_text_free(&answer);
    td_ranked found[3];
    td_ranking ranking;
    must(td_candidates_rank_vector(with->candidates, query, 2, NULL, found, 3, &ranking));
    CHECK(ranking.count == 3 && found[0].row == 0);
  }
  return NULL;
}

static void *disturbs(void *given) {
  const shared *with = given;
  for (int turn = 0; turn < 20; turn++) {
    const uint8_t *damaged = (const uint8_t *)with->damaged.data;
    REFUSED(td_router_reload(with->router, damaged, with->damaged.length), ARTIFACT_CHECKSUM);
    must(td_router_reload(with->router, (const uint8_t *)with->artifact.data, with->artifact.length));
    const float row[2] = {-1, (float)turn};
    must(td_candidates_add_vectors(with->candidates, NULL, row, 1, 2));
  }
  return NULL;
}

static void threads(bytes artifact, bytes damaged) {
  shared with = {.router = load(artifact, "{}"), .artifact = artifact, .damaged = damaged};
  must(td_candidates_new(NULL, 0, NULL, NULL, 0, &with.candidates));
  const float rows[6] = {1, 0, 0.9F, 0.1F, 0.8F, 0.2F};
  must(td_candidates_add_vectors(with.candidates, NULL, rows, 3, 2));
  td_text expected;
  must(td_router_decide(with.router, TEXT(WHY), NULL, 0, &expected));
  with.expected = expected.data;
  pthread_t running[6];
  for (int place = 0; place < 6; place++)
    CHECK(pthread_create(&running[place], NULL, place == 5 ? disturbs : decides, &with) == 0);
  for (int place = 0; place < 6; place++) CHECK(pthread_join(running[place], NULL) == 0);
  td_text_free(&expected);
  td_candidates_free(&with.candidates);
  td_router_free(&with.router);
}

int main(int count, char **arguments) {
  if (count != 3) stop("usage: hostile ARTIFACT DAMAGED");
  bytes artifact = read_file(arguments[1]), damaged = read_file(arguments[2]);
  pointers(artifact);
  numbers();
  errors_are_of_their_thread();
  panics(artifact);
  threads(artifact, damaged);
  free(artifact.data);
  free(damaged.data);
  printf("%d checks\n", checks);
  return 0;
}
