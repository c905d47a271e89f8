// A pole on a cart, pushed with a force between -10 and 10 N: the environment this server serves.
// Replace it with your simulator: `reset`, `step`, the two sizes and the bounds of the action are all the server needs.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <random>
#include <thread>

class CartPole {
  public:
    static constexpr std::size_t observation_size = 4, action_size = 1;
    static constexpr float action_low = -1.0f, action_high = 1.0f;
    using Observation = std::array<float, observation_size>;
    using Action = std::array<float, action_size>;

    struct Transition {
        double reward;
        bool terminated, truncated;
    };

    explicit CartPole(int step_milliseconds) : pause_(step_milliseconds) {}

    void seed(std::uint64_t value) { random_.seed(value); }

    void reset() {
        std::uniform_real_distribution<double> near_zero(-0.05, 0.05);
        for (double *part : {&position_, &speed_, &angle_, &spin_}) *part = near_zero(random_);
        steps_ = 0;
    }

    Transition step(const Action &action) {
        if (pause_.count() > 0) std::this_thread::sleep_for(pause_);
        const double force = max_force * std::clamp(action[0], action_low, action_high);
        const double sine = std::sin(angle_), cosine = std::cos(angle_);
        const double push = (force + pole_mass * half_length * spin_ * spin_ * sine) / (cart_mass + pole_mass);
        const double inertia = half_length * (4.0 / 3.0 - pole_mass * cosine * cosine / (cart_mass + pole_mass));
        const double turn = (gravity * sine - cosine * push) / inertia;
        speed_ += interval * (push - pole_mass * half_length * turn * cosine / (cart_mass + pole_mass));
        position_ += interval * speed_;
        spin_ += interval * turn;
        angle_ += interval * spin_;
        const bool fallen = std::abs(angle_) > max_angle || std::abs(position_) > max_position;
        return {1.0, fallen, !fallen && ++steps_ >= max_steps};
    }

    Observation observe() const {
        return {static_cast<float>(position_), static_cast<float>(speed_), static_cast<float>(angle_),
                static_cast<float>(spin_)};
    }

  private:
    static constexpr double gravity = 9.8, cart_mass = 1.0, pole_mass = 0.1, half_length = 0.5; // m/s², kg, kg, m
    static constexpr double max_force = 10.0, interval = 0.02;                                  // N, s
    static constexpr double max_angle = 0.21, max_position = 2.4;                               // rad, m
    static constexpr int max_steps = 500;

    std::chrono::milliseconds pause_;
    std::mt19937_64 random_{0};
    double position_ = 0, speed_ = 0, angle_ = 0, spin_ = 0;
    int steps_ = 0;
};
