// One row of a table of boxes: where a box lies in its field and in the buffer. Starts are in bytes, strides in elements.
#define BOX_ROW 16
struct Box {
    long long field, start, offset, element;
    long long count[4], stride[4], packed[4];
};
#define RUN(T, base, first, strides, i, j, k) \
    ((T*)((const char*)(base) + (first)) + (i) * (strides)[0] + (j) * (strides)[1] + (k) * (strides)[2])
