#include <ringlet/detail/task_record.hpp>

#include <string_view>

namespace ringlet {

namespace {

// Cuts off the template arguments: g++ writes ` [with T = int]`, clang ` [T = int]`.
std::string_view without_arguments(std::string_view signature) {
    if (!signature.ends_with(']')) return signature;
    std::size_t depth = 0;
    for (std::size_t at = signature.size(); at-- > 0;) {
        if (signature[at] == ']') ++depth;
        if (signature[at] == '[' && --depth == 0)
            return signature.substr(0, at > 0 && signature[at - 1] == ' ' ? at - 1 : at);
    }
    return signature;
}

// Cuts `signature` before the parenthesis that opens its parameter list.
std::string_view without_parameters(std::string_view signature) {
    signature = without_arguments(signature);
    if (signature.ends_with(" const")) signature.remove_suffix(6);
    if (!signature.ends_with(')')) return signature;
    std::size_t depth = 0;
    for (std::size_t at = signature.size(); at-- > 0;) {
        if (signature[at] == ')') ++depth;
        if (signature[at] == '(' && --depth == 0) return signature.substr(0, at);
    }
    return signature;
}

// Cuts the return type off: all before the last space that is in no brackets.
std::string_view without_return_type(std::string_view signature) {
    std::size_t depth = 0;
    for (std::size_t at = signature.size(); at-- > 0;) {
        const char letter = signature[at];
        if (letter == ')' || letter == '>') ++depth;
        if ((letter == '(' || letter == '<') && depth > 0) --depth;
        if (letter == ' ' && depth == 0) return signature.substr(at + 1);
    }
    return signature;
}

// What compilers write for a lambda: g++ `f()::<lambda(int)>`, clang
// `auto f()::(anonymous class)::operator()(int) const`.
std::string_view before_lambda(std::string_view signature) {
    auto at = signature.rfind("::<lambda");
    if (at == signature.npos) at = signature.rfind("::(anonymous class)");
    if (at == signature.npos) at = signature.rfind("::(lambda");
    return at == signature.npos ? std::string_view() : signature.substr(0, at);
}

// Removes the anonymous namespace, as g++ and clang write it: it does not help to find the function.
std::string without_anonymous(std::string_view name) {
    std::string plain(name);
    for (const std::string_view anonymous : {"{anonymous}::", "(anonymous namespace)::"}) {
        for (auto at = plain.find(anonymous); at != plain.npos; at = plain.find(anonymous)) {
            plain.erase(at, anonymous.size());
        }
    }
    return plain;
}

} // namespace

std::string short_task_name(const char* name) {
    std::string_view signature = name;
    if (signature.find('(') == signature.npos) return name; // a name given to `spawn`
    const std::string_view around = before_lambda(signature);
    if (around.empty())
        return without_anonymous(without_return_type(without_parameters(signature)));
    const std::string_view outer = before_lambda(around).empty() ? around : before_lambda(around);
    return "lambda in " + without_anonymous(without_return_type(without_parameters(outer)));
}

std::string task_and_place(std::string_view name, const std::source_location& where) {
    std::string_view file = where.file_name();
    file.remove_prefix(file.rfind('/') + 1); // without the folders
    std::string text = "task \"";
    text.append(name).append("\" (").append(file).append(":");
    return text + std::to_string(where.line()) + ")";
}

std::string TaskRecord::to_string() const { return task_and_place(short_name(), spawned_at); }

std::string TaskRecord::describe() const { return "its next turn"; }

std::optional<TaskFailure> TaskRecord::failure() const {
    if (!has_failed()) return std::nullopt;
    return TaskFailure{
        .task = short_name(), .spawned_at = spawned_at, .error = error(), .exception = exception()};
}

} // namespace ringlet
