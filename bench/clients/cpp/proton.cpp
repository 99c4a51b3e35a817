// proton C++: the same command line and answer as the programs in ../python; see task.py there.

#include <proton/binary.hpp>
#include <proton/connection.hpp>
#include <proton/connection_options.hpp>
#include <proton/container.hpp>
#include <proton/delivery.hpp>
#include <proton/message.hpp>
#include <proton/message_id.hpp>
#include <proton/messaging_handler.hpp>
#include <proton/receiver.hpp>
#include <proton/receiver_options.hpp>
#include <proton/sender.hpp>
#include <proton/ssl.hpp>
#include <proton/timestamp.hpp>
#include <proton/tracker.hpp>
#include <proton/version.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <limits>
#include <string>

namespace {

const long credit = 1000;

struct task {
    std::string operation, server, address;
    long count, size;
    std::string ca_file;
};

class handler : public proton::messaging_handler {
  public:
    explicit handler(const task& t) : task_(t) {}

    void on_container_start(proton::container& container) override {
        proton::connection_options options;
        if (!task_.ca_file.empty())
            options.ssl_client_options(proton::ssl_client_options(task_.ca_file, proton::ssl::VERIFY_PEER_NAME));
        container.connect(task_.server, options);
    }

  protected:
    void begin() { begun_ = std::chrono::steady_clock::now(); }

    void finish(proton::connection connection, long long tally) {
        std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun_;
        std::printf("%.6f %lld\n", seconds.count(), tally);
        connection.close();
    }

    const task& task_;

  private:
    std::chrono::steady_clock::time_point begun_;
};

class sending : public handler {
  public:
    sending(const task& t, long under_way) : handler(t), under_way_(under_way), body_(t.size, 'x') {}

    void on_connection_open(proton::connection& connection) override { connection.open_sender(task_.address); }

    void on_sendable(proton::sender& sender) override {
        if (!sent_)
            begin();
        fill(sender);
    }

    void on_tracker_accept(proton::tracker& tracker) override {
        if (++accepted_ == task_.count) {
            finish(tracker.connection(), accepted_);
        } else if (under_way_ == 1) {
            proton::sender sender = tracker.sender();
            fill(sender);
        }
    }

  private:
    void fill(proton::sender& sender) {
        while (sender.credit() > 0 && sent_ < task_.count && sent_ - accepted_ < under_way_) {
            proton::message message(body_);
            message.inferred(true); // a data section, not a value
            sender.send(message);
            sent_++;
        }
    }

    const long under_way_;
    const proton::binary body_;
    long sent_ = 0, accepted_ = 0;
};

class receiving : public handler {
  public:
    using handler::handler;

    void on_connection_open(proton::connection& connection) override {
        begin();
        int window = std::min(credit, task_.count);
        connection.open_receiver(task_.address, proton::receiver_options().credit_window(window));
    }

    void on_message(proton::delivery& delivery, proton::message& message) override {
        if (received_ == task_.count)
            return;
        long long tally = read(message);
        if (++received_ == task_.count) {
            delivery.accept();
            finish(delivery.connection(), tally);
        }
    }

  protected:
    virtual long long read(proton::message& message) {
        body_ = proton::get<proton::binary>(message.body());
        return body_.size();
    }

    proton::binary body_;

  private:
    long received_ = 0;
};

class receiving_rich : public receiving {
  public:
    using receiving::receiving;

  protected:
    long long read(proton::message& message) override {
        std::string texts[] = {
            proton::get<std::string>(message.id()), message.to(), message.subject(), message.reply_to(),
            proton::get<std::string>(message.correlation_id()), message.content_type(),
        };
        long long tally = message.creation_time().milliseconds() / 1000000000;
        for (const std::string& text : texts)
            tally += text.size();
        auto& properties = message.properties();
        tally += proton::get<std::string>(properties.get("region")).size();
        tally += proton::get<std::int32_t>(properties.get("quantity"));
        tally += proton::get<bool>(properties.get("express"));
        return tally + receiving::read(message);
    }
};

int run(const task& t) {
    if (t.operation == "send" || t.operation == "send-one") {
        sending sender(t, t.operation == "send" ? std::numeric_limits<long>::max() : 1);
        proton::container(sender).run();
    } else if (t.operation == "receive") {
        receiving receiver(t);
        proton::container(receiver).run();
    } else if (t.operation == "receive-rich") {
        receiving_rich receiver(t);
        proton::container(receiver).run();
    } else {
        std::cerr << "there is no operation " << t.operation << "\n";
        return 2;
    }
    return 0;
}

} // namespace

int main(int count, char** arguments) {
    if (count == 2 && std::string(arguments[1]) == "version") {
        std::printf("%d.%d.%d\n", PN_VERSION_MAJOR, PN_VERSION_MINOR, PN_VERSION_POINT);
        return 0;
    }
    if (count < 5) {
        std::cerr << "usage: proton OPERATION URL COUNT SIZE [CA]\n";
        return 2;
    }
    std::string url = arguments[2];
    std::size_t path = url.find('/', url.find("//") + 2);
    task t{arguments[1], url.substr(0, path), url.substr(path + 1), std::stol(arguments[3]), std::stol(arguments[4]),
           count > 5 ? arguments[5] : ""};
    try {
        return run(t);
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}
