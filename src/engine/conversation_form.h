// Conversations in the form that a chat template takes. Templates refuse or leave out what their authors had not
// thought of: a second system message, two questions in a row, an id of more than nine letters. The conversations of
// clients have all of these. What a template takes is found out by rendering small conversations with it.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "runner.pb.h"

namespace drover {

struct TemplateHabits {
  bool system = true;         // it shows a system message at the start
  bool second_system = true;  // and another one right behind it
  bool later_system = true;   // and one between turns
  bool last_system = true;    // and one behind them
  bool system_alone = true;   // and nothing else
  bool same_role = true;      // it takes two questions or two answers in a row
  bool answer_first = true;   // it takes a conversation that begins with an answer
  bool thoughts = true;       // it shows an answer that came with a thought
  bool calls = true;          // it shows a call
  bool several_calls = true;  // and several in one answer
  bool tool_results = true;   // it shows the result of a call
  bool any_id = true;         // it takes ids of calls in any form; if not, nine letters and digits
  bool lone_results = true;   // it takes a result without the call, as conversations have that were cut
  bool question_next = true;  // and a question right behind a result or a call
};

// What a template makes of a conversation; nothing where it refuses it.
using RenderConversation = std::function<std::optional<std::string>(const pb::Chat&)>;

TemplateHabits find_habits(const RenderConversation& render);

// Whether every template takes the conversation as it is: questions and answers in turn, and nothing but text.
bool is_in_turn(const pb::Chat& chat);

// An answer that the client has begun and the model is to continue; null if there is none.
const pb::Message* begun_answer(const pb::Chat& chat);

// Brings `chat` into the form that such a template takes, where it is not. No text is lost: it goes to the message
// before or behind it, or becomes a question. Calls without an id get one, results the id and the name of their call.
void reshape(const TemplateHabits& habits, pb::Chat& chat);

}  // namespace drover
