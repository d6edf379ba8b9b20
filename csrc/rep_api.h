/* rep_api: what stands round the declarations of every public header: for C++ they are C's, and the
 * shared library exports them, these and no others (it is compiled with hidden visibility).
 */
#ifndef REP_API_H
#define REP_API_H

#ifdef __cplusplus
#define REP_API_BEGIN                                                                              \
    extern "C" {                                                                                   \
    _Pragma("GCC visibility push(default)")
#define REP_API_END                                                                                \
    _Pragma("GCC visibility pop")                                                                  \
    }
#else
#define REP_API_BEGIN _Pragma("GCC visibility push(default)")
#define REP_API_END _Pragma("GCC visibility pop")
#endif

#endif
