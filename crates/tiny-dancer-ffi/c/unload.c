/* unload LIBRARY: loads the library, has a thread call it, closes it, and lets the thread end after that. */

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

typedef int (*put)(const void *agents, const char *json, size_t length);

static put agents_put;
static pthread_barrier_t called, closed;

static void *calls(void *unused) {
  (void)unused;
  int code = agents_put(NULL, NULL, 0); /* its error is kept for this thread, until it ends */
  pthread_barrier_wait(&called);
  pthread_barrier_wait(&closed);
  return (void *)(intptr_t)code;
}

int main(int count, char **arguments) {
  void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  if (library == NULL) return 1;
  *(void **)&agents_put = dlsym(library, "td_agents_put");
  pthread_t thread;
  void *code = NULL;
  pthread_barrier_init(&called, NULL, 2);
  pthread_barrier_init(&closed, NULL, 2);
  if (pthread_create(&thread, NULL, calls, NULL) != 0) return 1;
  pthread_barrier_wait(&called);
  if (dlclose(library) != 0) return 1;
  pthread_barrier_wait(&closed);
  if (pthread_join(thread, &code) != 0) return 1;
  printf("%d\n", (int)(intptr_t)code);
  return 0;
}
