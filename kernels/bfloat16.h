// bfloat16 in storage, float in arithmetic: no CUDA header, so that NVRTC and the host compiler read the same text.
struct bfloat16 {
    unsigned short bits;
};
union FloatBits {
    unsigned int bits;
    float value;
};

__device__ __forceinline__ float widen(bfloat16 x)
{
    FloatBits f;
    f.bits = (unsigned int)x.bits << 16;
    return f.value;
}

// Round to nearest, ties to even; a NaN stays one.
__device__ __forceinline__ bfloat16 narrow(float x)
{
    FloatBits f;
    f.value = x;
    bfloat16 y;
    y.bits = x == x ? (unsigned short)((f.bits + 0x7fffu + ((f.bits >> 16) & 1u)) >> 16) : (unsigned short)0x7fc0u;
    return y;
}
