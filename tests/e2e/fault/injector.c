/* Preloaded into every process of a run (shells, JVM, Python driver, probe workers): makes one commit the last thing the
 * run does, or one file a file that is never opened. Told what to do by the environment:
 *
 *   FAULT_ROOT   only paths below this folder count (it ends with a slash)
 *   FAULT_LOG    each successful put or delete below the root is appended to this file: "put PATH" or "delete PATH"
 *   FAULT_POINT  "put PATH" or "delete PATH", relative to the root: the call that is waited for ...
 *   FAULT_NTH    ... for the so-manieth time in one process, from 1
 *   FAULT_WHEN   "before" or "after": when the process group is killed with SIGKILL
 *   FAULT_HANG   a path that never finishes opening in a JVM, as on a dead network mount
 *
 * A put is a rename or a hard link to its final name: that is how Hadoop's local file system, delta-rs and Sluice's own
 * documents commit. Relative paths are none of ours. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_int seen_before, seen_after;

static const char *below_root(const char *path) {
  const char *root = getenv("FAULT_ROOT");
  if (root == NULL || path == NULL || strncmp(path, root, strlen(root)) != 0) return NULL;
  return path + strlen(root);
}

static void note(const char *verb, const char *path) {
  const char *log = getenv("FAULT_LOG");
  char line[8192];
  if (log == NULL) return;
  int length = snprintf(line, sizeof line, "%s %s\n", verb, path);
  int file = REAL(open)(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0 || length < 0 || length >= (int)sizeof line || write(file, line, (size_t)length) != length) abort();
  close(file);
}

/* Called on both sides of each call; does not return where the run is to end. */
static void step(const char *when, const char *verb, const char *path, atomic_int *seen) {
  const char *point = getenv("FAULT_POINT"), *wanted = getenv("FAULT_WHEN"), *nth = getenv("FAULT_NTH");
  char here[8192];
  int saved = errno;
  if (point && wanted && nth && strcmp(wanted, when) == 0) {
    snprintf(here, sizeof here, "%s %s", verb, path);
    if (strcmp(here, point) == 0 && atomic_fetch_add(seen, 1) + 1 == atoi(nth)) {
      kill(0, SIGKILL);
      for (;;) pause();
    }
  }
  errno = saved;
}

static int commit(const char *verb, const char *target, int (*call)(void *), void *arguments) {
  const char *path = below_root(target);
  if (path == NULL) return call(arguments);
  step("before", verb, path, &seen_before);
  int result = call(arguments);
  if (result == 0) {
    note(verb, path);
    step("after", verb, path, &seen_after);
  }
  return result;
}

struct call {
  int from_folder, to_folder;
  const char *from, *to;
  unsigned flags;
};

static int do_rename(void *a) { struct call *c = a; return REAL(rename)(c->from, c->to); }
static int do_link(void *a) { struct call *c = a; return REAL(link)(c->from, c->to); }
static int do_unlink(void *a) { struct call *c = a; return REAL(unlink)(c->to); }
static int do_renameat(void *a) {
  struct call *c = a;
  return REAL(renameat)(c->from_folder, c->from, c->to_folder, c->to);
}
static int do_renameat2(void *a) {
  struct call *c = a;
  return REAL(renameat2)(c->from_folder, c->from, c->to_folder, c->to, c->flags);
}
static int do_linkat(void *a) {
  struct call *c = a;
  return REAL(linkat)(c->from_folder, c->from, c->to_folder, c->to, (int)c->flags);
}

int rename(const char *from, const char *to) {
  struct call c = {.from = from, .to = to};
  return commit("put", to, do_rename, &c);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  struct call c = {from_folder, to_folder, from, to, 0};
  return commit("put", to, do_renameat, &c);
}
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
  struct call c = {from_folder, to_folder, from, to, flags};
  return commit("put", to, do_renameat2, &c);
}
int link(const char *from, const char *to) {
  struct call c = {.from = from, .to = to};
  return commit("put", to, do_link, &c);
}
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
  struct call c = {from_folder, to_folder, from, to, (unsigned)flags};
  return commit("put", to, do_linkat, &c);
}
int unlink(const char *path) {
  struct call c = {.to = path};
  return commit("delete", path, do_unlink, &c);
}

static void hang_on(const char *path) {
  const char *file = getenv("FAULT_HANG");
  if (file == NULL || path == NULL || strcmp(path, file) != 0) return;
  if (strcmp(program_invocation_short_name, "java") != 0) return;
  for (;;) pause();
}

static mode_t mode_of(int flags, va_list arguments) {
  return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  hang_on(path);
  return REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  hang_on(path);
  return REAL(open64)(path, flags, mode);
}
