// Preloaded into a process, this adds the seconds in the file CHAOS_CLOCK_FILE to its wall clock. The monotonic clock
// stays right, as it does when a machine's clock is set. The file is read again when the cached value is 200 ms old.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const long long KEEP_NS = 200000000;

static long long monotonic_ns(void) {
  struct timespec now;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long offset_s(void) {
  // Two threads may read the file at once; both store the same value.
  static _Atomic long cached = 0;
  static _Atomic long long read_ns = 0;
  long long now_ns = monotonic_ns();
  if (read_ns && now_ns - read_ns < KEEP_NS) return cached;
  const char *path = getenv("CHAOS_CLOCK_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file >= 0) {
    char text[32];
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    if (size > 0) {
      text[size] = 0;
      cached = strtol(text, 0, 10);
    }
  }
  read_ns = now_ns;
  return cached;
}

int clock_gettime(clockid_t id, struct timespec *now) {
  int result = syscall(SYS_clock_gettime, id, now);
  if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += offset_s();
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec fine;
  (void)zone;
  int result = clock_gettime(CLOCK_REALTIME, &fine);
  now->tv_sec = fine.tv_sec;
  now->tv_usec = fine.tv_nsec / 1000;
  return result;
}

time_t time(time_t *result) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (result) *result = now.tv_sec;
  return now.tv_sec;
}
