// The part of msgpack that the headers of the protocol need: maps, strings, integers, floats, booleans, nil, arrays.
// Specification: https://github.com/msgpack/msgpack/blob/master/spec.md
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace msgpack {

// Appends values to a string of bytes, big-endian as msgpack has it.
class Writer {
  public:
    Writer &map(std::size_t pairs) { return count(0x80, 15, 0xde, pairs); }
    Writer &array(std::size_t items) { return count(0x90, 15, 0xdc, items); }
    Writer &boolean(bool value) { return byte(value ? 0xc3 : 0xc2); }

    Writer &integer(std::int64_t value) {
        byte(0xd3);
        return big_endian(static_cast<std::uint64_t>(value), 8);
    }

    Writer &number(double value) {
        std::uint64_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        byte(0xcb);
        return big_endian(bits, 8);
    }

    Writer &text(const std::string &value) {
        if (value.size() < 32)
            byte(static_cast<std::uint8_t>(0xa0 | value.size()));
        else
            byte(0xda).big_endian(value.size(), 2);
        bytes_ += value;
        return *this;
    }

    const std::string &bytes() const { return bytes_; }

  private:
    Writer &byte(std::uint8_t value) {
        bytes_.push_back(static_cast<char>(value));
        return *this;
    }

    Writer &big_endian(std::uint64_t value, int size) {
        for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) byte(static_cast<std::uint8_t>(value >> shift));
        return *this;
    }

    Writer &count(std::uint8_t small, std::size_t limit, std::uint8_t large, std::size_t items) {
        if (items <= limit) return byte(static_cast<std::uint8_t>(small | items));
        return byte(large).big_endian(items, 2);
    }

    std::string bytes_;
};

// What a request's header may hold: text, a whole number, or neither (nil).
struct Value {
    enum class Kind { nil, integer, text } kind = Kind::nil;
    std::int64_t integer = 0;
    std::string text;
};

// Reads a map of text to nil, whole numbers and text, which is all that clients send. Booleans and floats, which a later
// client might send under keys that are not known here, are read as nil; anything else throws.
class Reader {
  public:
    Reader(const void *data, std::size_t size) : at_(static_cast<const std::uint8_t *>(data)), end_(at_ + size) {}

    std::map<std::string, Value> map() {
        const std::uint8_t tag = byte();
        std::size_t pairs;
        if ((tag & 0xf0) == 0x80)
            pairs = tag & 0x0f;
        else if (tag == 0xde)
            pairs = big_endian(2);
        else
            throw std::runtime_error("the header is not a msgpack map");
        std::map<std::string, Value> result;
        while (pairs--) {
            const Value key = value();
            if (key.kind != Value::Kind::text) throw std::runtime_error("a key of the header is not a string");
            result[key.text] = value();
        }
        return result;
    }

  private:
    Value value() {
        const std::uint8_t tag = byte();
        if (tag == 0xc0 || tag == 0xc2 || tag == 0xc3) return {};
        if (tag == 0xca || tag == 0xcb) return (big_endian(tag == 0xca ? 4 : 8), Value{});
        if (tag < 0x80) return whole(tag);
        if (tag >= 0xe0) return whole(static_cast<std::int8_t>(tag));
        if (tag >= 0xcc && tag <= 0xcf) return whole(static_cast<std::int64_t>(big_endian(1u << (tag - 0xcc))));
        if (tag == 0xd0) return whole(static_cast<std::int8_t>(big_endian(1)));
        if (tag == 0xd1) return whole(static_cast<std::int16_t>(big_endian(2)));
        if (tag == 0xd2) return whole(static_cast<std::int32_t>(big_endian(4)));
        if (tag == 0xd3) return whole(static_cast<std::int64_t>(big_endian(8)));
        if ((tag & 0xe0) == 0xa0) return text(tag & 0x1f);
        if (tag == 0xd9) return text(big_endian(1));
        if (tag == 0xda) return text(big_endian(2));
        throw std::runtime_error("the header holds a type that this protocol does not use");
    }

    static Value whole(std::int64_t number) { return {Value::Kind::integer, number, {}}; }

    Value text(std::size_t size) {
        need(size);
        Value result{Value::Kind::text, 0, std::string(reinterpret_cast<const char *>(at_), size)};
        at_ += size;
        return result;
    }

    std::uint8_t byte() {
        need(1);
        return *at_++;
    }

    std::uint64_t big_endian(unsigned size) {
        need(size);
        std::uint64_t value = 0;
        while (size--) value = value << 8 | *at_++;
        return value;
    }

    void need(std::size_t size) const {
        if (static_cast<std::size_t>(end_ - at_) < size) throw std::runtime_error("the header ends too early");
    }

    const std::uint8_t *at_;
    const std::uint8_t *end_;
};

} // namespace msgpack
