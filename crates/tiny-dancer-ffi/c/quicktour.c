/* Loads the default artifact, decides a request, ranks candidates, chooses an agent.
 *
 *   cc quicktour.c $(pkg-config --cflags --libs tiny_dancer) -o quicktour && ./quicktour FOLDER_OF_ARTIFACTS
 */

#include <math.h>

#include "files.h"

static void print_field(const char *json, const char *name);

int main(int count, char **arguments) {
  if (count != 2) stop("usage: quicktour FOLDER_OF_ARTIFACTS");
  if (td_abi_version() != TD_ABI_VERSION) stop("the library is of another version than the header");
  char path[4096];

  /* A router from the default artifact, and the encoder it was trained with. */
  snprintf(path, sizeof path, "%s/encoder.safetensors", arguments[1]);
  bytes file = read_file(path);
  td_encoder *encoder = NULL;
  must(td_encoder_load((const uint8_t *)file.data, file.length, &encoder));
  free(file.data);
  snprintf(path, sizeof path, "%s/default.safetensors", arguments[1]);
  file = read_file(path);
  td_router *router = NULL;
  must(td_router_load((const uint8_t *)file.data, file.length, encoder, NULL, 0, NULL, 0, &router));
  free(file.data);

  const char *request = "\"Prove that the square root of 2 is irrational.\"";
  td_text answer;
  must(td_router_decide(router, request, strlen(request), NULL, 0, &answer));
  print_field(answer.data, "model");
  print_field(answer.data, "reason");
  td_text_free(&answer);

  /* An error says what was wrong, and what to do about it. */
  const char *options = "{\"max_cost\": -1}";
  if (td_router_decide(router, request, strlen(request), options, strlen(options), &answer) != TD_CODE_OK)
    printf("refused: %s\n", td_error_message());

  /* Candidates, by their embeddings alone. */
  td_candidates *candidates = NULL;
  must(td_candidates_new(NULL, 0, NULL, NULL, 0, &candidates));
  const char *ids[] = {"tea", "train", "bus"};
  const float embeddings[] = {1, 0, 0, 0, 1, 0, 0, 0.8F, 0.6F};
  must(td_candidates_add_vectors(candidates, ids, embeddings, 3, 3));
  const float query[] = {0, 0.9F, 0.1F};
  td_ranked found[2];
  td_ranking ranking;
  must(td_candidates_rank_vector(candidates, query, 3, NULL, found, 2, &ranking));
  for (size_t place = 0; place < ranking.count; place++)
    printf("candidate: %s %.2f\n", ids[found[place].row], (double)found[place].score);

  /* Agents. */
  td_agents *agents = NULL;
  must(td_agents_new(NAN, &agents));
  const char *known =
      "[{\"name\": \"coder\", \"capabilities\": [\"code\"], \"quality\": 0.9},"
      " {\"name\": \"writer\", \"capabilities\": [\"prose\"], \"quality\": 0.95}]";
  must(td_agents_put(agents, known, strlen(known)));
  const char *asked = "{\"required_capabilities\": [\"code\"]}";
  must(td_agents_choose(agents, asked, strlen(asked), &answer));
  print_field(answer.data, "agent");
  td_text_free(&answer);

  td_agents_free(&agents);
  td_candidates_free(&candidates);
  td_router_free(&router);
  td_encoder_free(&encoder);
  return 0;
}

/* The first text of this name in JSON; a program that does more with answers has a parser. */
static void print_field(const char *json, const char *name) {
  char quoted[64];
  snprintf(quoted, sizeof quoted, "\"%s\":\"", name);
  const char *start = strstr(json, quoted);
  if (start == NULL) stop(json);
  start += strlen(quoted);
  printf("%s: %.*s\n", name, (int)strcspn(start, "\""), start);
}
