// An environment server in C++ for raymon's ZeroMQ protocol, version 1 (docs/environments.md).
//
//     cpp_env [--host 127.0.0.1] [--port 5555] [--count 1] [--step-ms 0]
//
// serves `count` environments on consecutive ports, one thread each, until it is interrupted.

#include <atomic>
#include <csignal>
#include <cstring>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <zmq.hpp>

#include "cart_pole.hpp"
#include "msgpack.hpp"

namespace {

constexpr std::int64_t protocol_version = 1;
std::atomic<bool> stop{false};

struct Options {
    std::string host = "127.0.0.1";
    int port = 5555, count = 1, step_ms = 0;
};

// A reply: the header and, for observations, one frame of float32.
struct Reply {
    std::string header;
    std::vector<float> observation;
};

using Frames = std::vector<zmq::message_t>;

std::string spaces() {
    msgpack::Writer writer;
    writer.map(4).text("op").text("spaces").text("version").integer(protocol_version);
    writer.text("observation").map(1).text("shape").array(1).integer(CartPole::observation_size);
    writer.text("action").map(3).text("kind").text("box");
    writer.text("low").array(CartPole::action_size);
    for (std::size_t i = 0; i < CartPole::action_size; ++i) writer.number(CartPole::action_low);
    writer.text("high").array(CartPole::action_size);
    for (std::size_t i = 0; i < CartPole::action_size; ++i) writer.number(CartPole::action_high);
    return writer.bytes();
}

std::string transition(const CartPole::Transition &result) {
    msgpack::Writer writer;
    writer.map(4).text("op").text("transition").text("reward").number(result.reward);
    writer.text("terminated").boolean(result.terminated).text("truncated").boolean(result.truncated);
    return writer.bytes();
}

std::string only(const std::string &op) {
    return msgpack::Writer().map(1).text("op").text(op).bytes();
}

CartPole::Action action_of(const Frames &frames) {
    CartPole::Action action;
    if (frames.size() != 2 || frames[1].size() != sizeof action)
        throw std::runtime_error("expected one frame of " + std::to_string(sizeof action) + " bytes as action");
    std::memcpy(action.data(), frames[1].data(), sizeof action); // float32, little-endian as this machine
    return action;
}

Reply answer(CartPole &environment, const Frames &request) {
    auto header = msgpack::Reader(request.at(0).data(), request.at(0).size()).map();
    const std::string op = header["op"].text;
    if (op == "hello") return {spaces(), {}};
    if (op == "close") return {only("closed"), {}};
    std::string reply;
    if (op == "reset") {
        if (header["seed"].kind == msgpack::Value::Kind::integer) environment.seed(header["seed"].integer);
        environment.reset();
        reply = only("observation");
    } else if (op == "step") {
        reply = transition(environment.step(action_of(request)));
    } else {
        throw std::runtime_error("unknown op '" + op + "', expected hello, reset, step or close");
    }
    const auto observation = environment.observe();
    return {reply, {observation.begin(), observation.end()}};
}

Frames receive(zmq::socket_t &socket) {
    Frames frames;
    do {
        frames.emplace_back();
        if (!socket.recv(frames.back())) throw std::runtime_error("no message after a successful poll");
    } while (frames.back().more());
    return frames;
}

void serve(zmq::context_t &context, const Options &options, int port) {
    zmq::socket_t socket(context, zmq::socket_type::rep);
    socket.set(zmq::sockopt::linger, 0);
    socket.bind("tcp://" + options.host + ":" + std::to_string(port));
    CartPole environment(options.step_ms);
    zmq::pollitem_t item{socket.handle(), 0, ZMQ_POLLIN, 0};
    while (!stop) {
        if (zmq::poll(&item, 1, std::chrono::milliseconds(100)) == 0) continue;
        const Frames request = receive(socket);
        Reply reply;
        try {
            reply = answer(environment, request);
        } catch (const std::exception &error) {
            reply = {msgpack::Writer().map(2).text("op").text("error").text("message").text(error.what()).bytes(), {}};
        }
        const bool more = !reply.observation.empty();
        socket.send(zmq::buffer(reply.header), more ? zmq::send_flags::sndmore : zmq::send_flags::none);
        if (more) socket.send(zmq::buffer(reply.observation), zmq::send_flags::none);
    }
}

Options parse(int count, char **words) {
    Options options;
    for (int i = 1; i < count; i += 2) {
        const std::string name = words[i];
        if (i + 1 == count) throw std::invalid_argument(name + " needs a value");
        const std::string value = words[i + 1];
        if (name == "--host") options.host = value;
        else if (name == "--port") options.port = std::stoi(value);
        else if (name == "--count") options.count = std::stoi(value);
        else if (name == "--step-ms") options.step_ms = std::stoi(value);
        else throw std::invalid_argument("unknown option " + name + "; expected --host, --port, --count or --step-ms");
    }
    return options;
}

} // namespace

int main(int count, char **words) {
    Options options;
    try {
        options = parse(count, words);
    } catch (const std::exception &error) {
        std::cerr << "cpp_env: " << error.what() << "\n";
        return 2;
    }
    std::signal(SIGINT, [](int) { stop = true; });
    std::signal(SIGTERM, [](int) { stop = true; });
    zmq::context_t context;
    std::atomic<int> failed{0};
    std::vector<std::thread> threads;
    for (int number = 0; number < options.count; ++number) {
        threads.emplace_back([&, number] {
            try {
                serve(context, options, options.port + number);
            } catch (const std::exception &error) {
                if (!stop) {
                    std::cerr << "cpp_env: port " << options.port + number << ": " << error.what() << std::endl;
                    failed = 1;
                    stop = true;
                }
            }
        });
    }
    std::cout << "serving " << options.count << " environments on " << options.host << ":" << options.port << " and up"
              << std::endl;
    for (auto &thread : threads) thread.join();
    return failed;
}
