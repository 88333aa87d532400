// Philox 4x32-10, as src/train/rng.rs: element e of a stream is word e % 4 of block e / 4.
#pragma once

// The four words of a block.
struct PhiloxBlock {
    unsigned word[4];
};

__device__ inline PhiloxBlock philox_block(
    unsigned key0, unsigned key1, unsigned major_, unsigned minor_, unsigned long long block) {
    unsigned c0 = (unsigned)block, c1 = (unsigned)(block >> 32), c2 = minor_, c3 = major_;
    for (int round = 0; round < 10; ++round) {
        unsigned long long a = (unsigned long long)c0 * 0xD2511F53u;
        unsigned long long b = (unsigned long long)c2 * 0xCD9E8D57u;
        c0 = (unsigned)(b >> 32) ^ c1 ^ key0;
        c1 = (unsigned)b;
        c2 = (unsigned)(a >> 32) ^ c3 ^ key1;
        c3 = (unsigned)a;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    PhiloxBlock made = {{c0, c1, c2, c3}};
    return made;
}
