// Stand-ins for the functions of CUDA's libraries whose callers use what they return: a GPU whose memory is the host's
// and whose kernels do nothing. The others are written by stand_ins.py.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OUT_OF_MEMORY = 2, ALIGNMENT = 512 };

// The head of CUDA 11's cudaDeviceProp, which is larger.
struct properties {
  char name[256];
  char ids[28];
  size_t total_global_memory, shared_memory_per_block;
  int registers_per_block, warp_size;
  size_t memory_pitch;
  int max_threads_per_block, max_threads[3], max_grid[3], clock_khz;
  size_t constant_memory;
  int major, minor;
  size_t texture_alignment, texture_pitch_alignment;
  int device_overlap, processors;
};

int cudaGetDeviceCount(int *count) {
  *count = 1;
  return 0;
}
int cudaGetDeviceProperties(struct properties *p, int device) {
  (void)device;
  *p = (struct properties){.name = "stand-in",
                           .total_global_memory = 8ull << 30,
                           .shared_memory_per_block = 48 << 10,
                           .registers_per_block = 64 << 10,
                           .warp_size = 32,
                           .memory_pitch = INT32_MAX,
                           .max_threads_per_block = 1024,
                           .max_threads = {1024, 1024, 64},
                           .max_grid = {INT32_MAX, 65535, 65535},
                           .clock_khz = 1410000,
                           .constant_memory = 64 << 10,
                           .major = 8,
                           .processors = 108};
  return 0;
}
int cudaMalloc(void **pointer, size_t size) {
  *pointer = NULL;
  return posix_memalign(pointer, ALIGNMENT, size) ? OUT_OF_MEMORY : 0;
}
int cudaFree(void *pointer) {
  free(pointer);
  return 0;
}
int cudaHostAlloc(void **pointer, size_t size, unsigned flags) {
  (void)flags;
  *pointer = malloc(size);
  return *pointer ? 0 : OUT_OF_MEMORY;
}
int cudaFreeHost(void *pointer) {
  free(pointer);
  return 0;
}
int cudaMemGetInfo(size_t *available, size_t *total) {
  *available = *total = 8ull << 30;
  return 0;
}
int cudaMemcpy(void *to, const void *from, size_t size, int kind) {
  (void)kind;
  memcpy(to, from, size);
  return 0;
}
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
  (void)stream;
  return cudaMemcpy(to, from, size, kind);
}
int cudaMemset(void *to, int value, size_t size) {
  memset(to, value, size);
  return 0;
}
int cudaMemsetAsync(void *to, int value, size_t size, void *stream) {
  (void)stream;
  return cudaMemset(to, value, size);
}
int cudaEventElapsedTime(float *milliseconds, void *start, void *end) {
  (void)start, (void)end;
  *milliseconds = 0.1f;
  return 0;
}
const char *cudaGetErrorString(int error) { return (void)error, "stand-in"; }
const char *cudaGetErrorName(int error) { return (void)error, "stand-in"; }
int cuGetErrorName(int error, const char **name) {
  (void)error;
  *name = "stand-in";
  return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  enum { COMPUTE_MAJOR = 75, COMPUTE_MINOR = 76 };
  (void)device;
  *value = attribute == COMPUTE_MAJOR ? 8 : attribute == COMPUTE_MINOR ? 0 : 1024;
  return 0;
}
const char *cudnnGetErrorString(int status) { return (void)status, "stand-in"; }

// cudnnConvolution*AlgoPerf_t: one algorithm, which needs no memory.
struct algorithm {
  int algorithm, status;
  float milliseconds;
  size_t memory;
  int determinism, math_type, reserved[3];
};
static int one_algorithm(int *count, struct algorithm *found) {
  *count = 1;
  *found = (struct algorithm){.algorithm = 1};
  return 0;
}
#define FINDS_ALGORITHM(name)                                                                         \
  int name(void *a, void *b, void *c, void *d, void *e, int wanted, int *count, struct algorithm *found) { \
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)wanted;                                        \
    return one_algorithm(count, found);                                                               \
  }
FINDS_ALGORITHM(cudnnGetConvolutionForwardAlgorithm_v7)
FINDS_ALGORITHM(cudnnGetConvolutionBackwardDataAlgorithm_v7)
FINDS_ALGORITHM(cudnnGetConvolutionBackwardFilterAlgorithm_v7)

static int small(size_t *size) {
  *size = 1024;
  return 0;
}
#define NEEDS_WORKSPACE(name)                                                           \
  int name(void *a, void *b, void *c, void *d, void *e, int algorithm, size_t *size) {  \
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)algorithm;                       \
    return small(size);                                                                 \
  }
NEEDS_WORKSPACE(cudnnGetConvolutionForwardWorkspaceSize)
NEEDS_WORKSPACE(cudnnGetConvolutionBackwardDataWorkspaceSize)
NEEDS_WORKSPACE(cudnnGetConvolutionBackwardFilterWorkspaceSize)
int cudnnGetTensorSizeInBytes(void *a, size_t *size) { return (void)a, small(size); }
int cudnnGetReductionWorkspaceSize(void *a, void *b, void *c, void *d, size_t *size) {
  (void)a, (void)b, (void)c, (void)d;
  return small(size);
}
int cudnnGetReductionIndicesSize(void *a, void *b, void *c, void *d, size_t *size) {
  (void)a, (void)b, (void)c, (void)d;
  return small(size);
}
