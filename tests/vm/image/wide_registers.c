/*
 * Lets User Mode Linux of Debian 12 (6.1) run on processors whose registers take more room than it knows.
 *
 * It keeps 2,696 bytes of a task's floating point registers. Linux hands out the beginning of what there is, but
 * takes back nothing less than all (x86: xstateregs_set), 11 KB where the processor has AMX, and the guest dies in
 * put_fp_registers. What the guest does not know, and has not changed, is put behind what it does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long call(enum __ptrace_request, pid_t, void *, void *);

/* The guest's kernel is one thread. */
static char whole[64 * 1024];
static call *libc_ptrace;

long ptrace(enum __ptrace_request request, ...)
{
	va_list rest;

	va_start(rest, request);
	pid_t task = va_arg(rest, pid_t);
	void *kind = va_arg(rest, void *);
	struct iovec *given = va_arg(rest, void *);
	va_end(rest);
	if (!libc_ptrace)
		libc_ptrace = (call *)dlsym(RTLD_NEXT, "ptrace");
	if (request == PTRACE_SETREGSET && kind == (void *)NT_X86_XSTATE) {
		struct iovec all = { whole, sizeof(whole) };

		if (!libc_ptrace(PTRACE_GETREGSET, task, kind, &all) && all.iov_len > given->iov_len) {
			memcpy(whole, given->iov_base, given->iov_len);
			return libc_ptrace(request, task, kind, &all);
		}
	}
	return libc_ptrace(request, task, kind, given);
}
