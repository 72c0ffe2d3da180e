// Threads of a device, run by one thread of the host, which switches between them: by a few instructions where we know
// them, by ucontext elsewhere (four times as slow, with two calls of the system each time).
#pragma once
#include <cstddef>
#include <cstdint>

#include <ucontext.h>

namespace fibers {

// Where one of them goes on; that of the scheduler needs no preparation.
struct Place {
    ucontext_t context;
    void* stack_pointer;
};

#if defined(__x86_64__) && !defined(TWIN_UCONTEXT)
extern "C" void gdkernels_twin_switch(void** save, void* load);
asm(R"(.text
gdkernels_twin_switch:
 pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
 movq %rsp, (%rdi); movq %rsi, %rsp
 popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
 ret)");
inline void change(Place& from, Place& to) { gdkernels_twin_switch(&from.stack_pointer, to.stack_pointer); }
inline void prepare(Place& place, void* stack, size_t bytes, void (*entry)()) {
    void** top = (void**)(((uintptr_t)stack + bytes) & ~(uintptr_t)15);
    *--top = nullptr;  // a return address that is never used, and keeps the alignment of a call
    *--top = (void*)entry;
    for (int saved = 0; saved < 6; saved++) *--top = nullptr;
    place.stack_pointer = top;
}
#else
inline void change(Place& from, Place& to) { swapcontext(&from.context, &to.context); }
inline void prepare(Place& place, void* stack, size_t bytes, void (*entry)()) {
    getcontext(&place.context);
    place.context.uc_stack.ss_sp = stack;
    place.context.uc_stack.ss_size = bytes;
    place.context.uc_link = nullptr;
    makecontext(&place.context, entry, 0);
}
#endif

}  // namespace fibers
