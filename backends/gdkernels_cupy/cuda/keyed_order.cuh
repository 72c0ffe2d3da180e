// The numbers of the records in a keyed order, as gdkernels/randomness/keyed_order.py has them: a place is a pair of
// numbers, one below `down` and one below `across`, of which one takes on a hash of the other, in turn. `words` are the
// records, down, across, and the keys of the rounds. Who includes this says what ORDER_FN is.
constexpr int ORDER_ROUNDS = 6;

ORDER_FN unsigned order_mixed(unsigned a) {
    a = (a ^ (a >> 16)) * 0x7feb352du;
    a = (a ^ (a >> 15)) * 0x846ca68bu;
    return a ^ (a >> 16);
}
// What is added to a number below `size` for the other number: a hash, scaled, and size taken off where it is passed.
ORDER_FN unsigned order_moved(unsigned number, unsigned other, unsigned key, unsigned size) {
    const unsigned long long scaled = (unsigned long long)order_mixed(key ^ other) * size;
    const unsigned sum = number + (unsigned)(scaled >> 32);
    return sum < size ? sum : sum - size;
}
ORDER_FN unsigned order_at(const unsigned* words, unsigned place) {
    const unsigned records = words[0], down = words[1], across = words[2];
    do {
        unsigned high = place / across, low = place % across;
        for (int k = 0; k < ORDER_ROUNDS; k += 2) {
            high = order_moved(high, low, words[3 + k], down);
            low = order_moved(low, high, words[4 + k], across);
        }
        place = high * across + low;
    } while (place >= records);
    return place;
}
