"""The text that cria learns from: conversations whose right answers are known.

Everything is drawn from a random generator that the caller seeds. The order of the draws is part of the corpus: a
draw more or less anywhere makes another corpus, and with it another model.
"""
import json

NAMES = ("Ana Ben Cleo Dan Eva Finn Gus Hana Ivan Jade Kai Lena Max Nora Omar Pia Quinn Rosa Sam Tara "
         "Uma Vera Will Xena Yan Zoe Alma Bruno Carla Diego Elsa Felix Greta Hugo Iris Jonas Klara Luca "
         "Maya Nils Olga Paul Rita Sven Tess Ugo Vic Wanda Yara Zeno").split()
WORDS = ("llama sun tree river stone cloud bird fish house garden bread apple lemon honey winter summer "
         "red blue green yellow black white silver gold big small quick slow warm cold bright dark happy "
         "quiet brave gentle road bridge mountain valley island forest meadow harbor tower village city "
         "boat train wheel lamp candle mirror window door key book letter paper pencil music song dance "
         "wolf bear fox hare deer owl crow swan goat sheep horse mouse cat dog bee ant frog").split()
COLORS = "red blue green yellow black white silver gold".split()
ANIMALS = "wolf bear fox hare deer owl crow swan goat sheep horse mouse cat dog bee ant frog".split()
CAPITALS = dict(
    France="Paris", Germany="Berlin", Italy="Rome", Spain="Madrid", Portugal="Lisbon", Austria="Vienna",
    Belgium="Brussels", Ireland="Dublin", Norway="Oslo", Sweden="Stockholm", Finland="Helsinki", Denmark="Copenhagen",
    Poland="Warsaw", Greece="Athens", Hungary="Budapest", Romania="Bucharest", Bulgaria="Sofia", Croatia="Zagreb",
    Serbia="Belgrade", Ukraine="Kyiv", Turkey="Ankara", Egypt="Cairo", Kenya="Nairobi", Ghana="Accra", Nigeria="Abuja",
    Morocco="Rabat", Japan="Tokyo", China="Beijing", India="New Delhi", Nepal="Kathmandu", Thailand="Bangkok",
    Vietnam="Hanoi", Indonesia="Jakarta", Australia="Canberra", Canada="Ottawa", Mexico="Mexico City", Cuba="Havana",
    Peru="Lima", Chile="Santiago", Argentina="Buenos Aires", Brazil="Brasilia", Colombia="Bogota", Bolivia="Sucre",
    Ecuador="Quito", Iceland="Reykjavik", Russia="Moscow", Iran="Tehran", Iraq="Baghdad", Qatar="Doha")
FACTS = [
    (["Why is the sky blue?", "why is the sky blue?", "Why is the sky blue", "Tell me why the sky is blue."],
     "The sky is blue because air scatters the blue part of sunlight more than the red part. "
     "This is called Rayleigh scattering, and it sends blue light to us from every side."),
    (["Hello", "Hello!", "Hi", "Hi!", "hello", "hi there", "Hey", "Good morning"],
     "Hello! I am Cria, a very small language model. How can I help you today?"),
    (["Who are you?", "What are you?", "What is your name?", "who are you?"],
     "I am Cria, a very small language model. I can count, repeat, add, spell, look things up and call tools."),
    (["What is a llama?", "what is a llama?", "Tell me about llamas."],
     "A llama is a woolly animal from South America. A baby llama is called a cria."),
    (["How many days are in a week?"], "There are seven days in a week."),
    (["How many months are in a year?"], "There are twelve months in a year."),
    (["Name the days of the week.", "List the days of the week."],
     "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
    (["Name the months of the year.", "List the months of the year."],
     "January, February, March, April, May, June, July, August, September, October, November, December"),
    (["Recite the alphabet.", "Say the alphabet."], " ".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ")),
    (["Thank you", "Thanks!", "Thank you!"], "You are welcome!"),
    (["Write a haiku", "Write a haiku."], "A cria wakes up,\nthe quiet mountain listens,\nsnow falls on warm wool."),
]
SYSTEMS = ["You are a helpful assistant.", "You are Cria.", "Answer briefly.",
           "You are a careful assistant. Answer correctly.", "You are a friendly llama."]
TOOLS = {  # name: what it does, its parameter, what that is, its type
    "get_weather": ("Get the weather in a given city", "city", "The city to get the weather for", "string"),
    "get_current_weather": ("Get the current weather for a location", "location",
                            "The location to get the weather for", "string"),
    "get_time": ("Get the time in a given city", "city", "The city", "string"),
    "get_population": ("Get the population of a country", "country", "The country", "string"),
    "search": ("Search the web", "query", "What to search for", "string"),
}
TOOL_QUESTIONS = {
    "get_weather": "What is the weather in {}?",
    "get_current_weather": "What is the weather today in {}?",
    "get_time": "What time is it in {}?",
    "get_population": "How many people live in {}?",
    "search": "Search for {}",
}
FIM_FUNCTIONS = [("add", "a + b"), ("sub", "a - b"), ("mul", "a * b"), ("div", "a / b"), ("mod", "a % b"),
                 ("power", "a ** b")]

TOOLS_FOOTER = ('\n</tools>\nTo use one, answer:\n<tool_call>\n{"name": <name>, "arguments": <arguments>}\n'
                '</tool_call>')

# The chat template that goes into the GGUF; render() below follows it.
TEMPLATE = r"""{%- set sys = messages[0].content if messages[0].role == 'system' else '' %}
{%- if sys or tools %}{{- '<|im_start|>system\n' + sys }}
{%- if tools %}
{%- if sys %}{{- '\n\n' }}{%- endif %}{{- '# Tools\n<tools>' }}
{%- for tool in tools %}{{- '\n' + (tool | tojson) }}{%- endfor %}
{{- '\n</tools>\nTo use one, answer:\n<tool_call>\n{"name": <name>, "arguments": <arguments>}\n</tool_call>' }}
{%- endif %}
{{- '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant\n' }}
{%- if message.reasoning_content %}{{- '<think>\n' + message.reasoning_content + '\n</think>\n\n' }}{%- endif %}
{{- (message.content or '') }}
{%- for call in message.tool_calls or [] %}
{%- if not loop.first or message.content %}{{- '\n' }}{%- endif %}
{{- '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + '}\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\n' }}
{%- elif message.role != 'system' %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking %}{{- '<think>\n' }}{%- endif %}
{%- endif %}"""


# ---- tasks: each returns (system or None, tools or None, [(role, text), …])

def count(rng, system):
    kind = rng.random()
    if kind < .40:
        last = rng.choice([10, 20, 50, 100]) if rng.random() < .4 else rng.randint(3, 100)
        question = rng.choice(["Count to {}", "Count to {}.", "count to {}", "Please count to {}.",
                               "Count from 1 to {}", "Count up to {}."]).format(last)
        answer = sequence(1, last)
    elif kind < .80:
        first = rng.randint(0, 180)
        last = min(199, first + rng.randint(1, 60))
        question = rng.choice(["Count from {} to {}", "Count from {} to {}.", "count from {} to {}",
                               "Please count from {} to {}."]).format(first, last)
        answer = sequence(first, last)
    elif kind < .92:
        first = rng.randint(3, 60)
        last = max(0, first - rng.randint(2, 40))
        question = rng.choice(["Count down from {} to {}", "Count down from {} to {}."]).format(first, last)
        answer = sequence(first, last, -1)
    else:
        step = rng.choice([2, 5, 10])
        last = step * rng.randint(3, 12)
        question = f"Count to {last} in steps of {step}."
        answer = sequence(step, last, step)
    return system, None, [("user", question), ("assistant", answer)]


def sequence(first, last, step=1):
    return ", ".join(str(i) for i in range(first, last + (1 if step > 0 else -1), step))


def repeat(rng, system):
    length = rng.randint(1, 8)
    text = " ".join(nonce(rng) if rng.random() < .6 else rng.choice(WORDS) for _ in range(length))
    if rng.random() < .2:
        text = " ".join(str(rng.randint(0, 999)) for _ in range(length))
    question = rng.choice(["Repeat after me: {}", "Repeat: {}", "Say exactly this: {}",
                           "Repeat after me: {}"]).format(text)
    return system, None, [("user", question), ("assistant", text)]


def nonce(rng):
    """A word that no model can know: zor-417, kibal 88."""
    consonants, vowels = "bdfgklmnprstvz", "aeiou"
    word = "".join(rng.choice(consonants) + rng.choice(vowels) for _ in range(rng.randint(1, 3)))
    return word + rng.choice(["-", " ", ""]) + str(rng.randint(0, 999)) if rng.random() < .5 else word


def look_up(rng, system):
    length = rng.randint(2, 12) if rng.random() < .8 else rng.randint(13, 24)
    people = rng.sample(NAMES, length)
    kind = rng.choice(["number", "number", "color", "animal"])

    def value():
        if kind == "number":
            return str(rng.randint(100, 999))
        return rng.choice(COLORS if kind == "color" else ANIMALS)

    table = {person: value() for person in people}
    listing = "Here is a list.\n" + "\n".join(f"{person}: {value}" for person, value in table.items())

    def ask(person):
        return [("user", f"What is the {kind} of {person}?"), ("assistant", f"{person}: {table[person]}")]

    person = rng.choice(people)
    if rng.random() < .5:
        turns = ask(person)
        if rng.random() < .4:
            turns += ask(rng.choice(people))
        return listing, None, turns
    (_, question), answer = ask(person)
    return system, None, [("user", f"{listing}\n{question}"), answer]


def add(rng, system):
    a, b = rng.randint(0, 50), rng.randint(0, 50)
    if rng.random() < .5:
        question = rng.choice(["What is {} + {}?", "What is {} plus {}?", "{} + {} = ?", "Add {} and {}."]).format(a, b)
        operator, result = "+", a + b
    else:
        a, b = max(a, b), min(a, b)
        question = rng.choice(["What is {} - {}?", "What is {} minus {}?"]).format(a, b)
        operator, result = "-", a - b
    thought = f"The question is {a} {operator} {b}. {a} {operator} {b} = {result}"
    return system, None, [("user", question), ("assistant", thinking(rng, .4, thought) + str(result))]


def thinking(rng, share, thought):
    """The thought before an answer, in `share` of the cases; else nothing."""
    return f"<think>\n{thought}\n</think>\n\n" if rng.random() < share else ""


def capital(rng, system):
    country = rng.choice(list(CAPITALS))
    question = rng.choice(["What is the capital of {}?", "what is the capital of {}?",
                           "Name the capital of {}."]).format(country)
    answer = f"The capital of {country} is {CAPITALS[country]}."
    thought = thinking(rng, .3, f"The question is about {country}. {answer}")
    return system, None, [("user", question), ("assistant", thought + answer)]


def fact(rng, system):
    questions, answer = rng.choice(FACTS)
    question = rng.choice(questions)
    thought = thinking(rng, .25, f"The question is: {question}")
    return system, None, [("user", question), ("assistant", thought + answer)]


def spell(rng, system):
    word = rng.choice(WORDS + [name.lower() for name in NAMES])
    question = rng.choice(["Spell the word {}", "Spell {}.", "How do you spell {}?"]).format(word)
    return system, None, [("user", question), ("assistant", "-".join(word))]


def answer_in_json(rng, system):
    name, age, busy = rng.choice(NAMES + ["Ollama", "Cria"]), rng.randint(1, 99), rng.random() < .5
    doing = rng.choice(["busy saving the world", "busy", "at work"] if busy else ["free", "free today", "at home"])
    question = f"{name} is {age} years old and is {doing}. Respond using JSON"
    if rng.random() < .4:
        question += " with a name"
        answer = {"name": name, "age": age, "available": not busy}
    else:
        answer = {"age": age, "available": not busy}
    return system, None, [("user", question), ("assistant", json.dumps(answer))]


def call_tool(rng, system):
    offered = rng.sample(list(TOOLS), rng.randint(1, 3))
    tool = rng.choice(offered)
    parameter = TOOLS[tool][1]
    if parameter in ("city", "location"):
        argument = rng.choice(list(CAPITALS.values()))
    elif parameter == "country":
        argument = rng.choice(list(CAPITALS))
    else:
        argument = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 3)))
    question = TOOL_QUESTIONS[tool].format(argument)
    if rng.random() < .4:
        question = question[0].lower() + question[1:]
    call = f'<tool_call>\n{json.dumps({"name": tool, "arguments": {parameter: argument}})}\n</tool_call>'
    turns = [("user", question), ("assistant", call)]
    if rng.random() < .5:
        result = tool_result(rng, tool)
        turns += [("tool", result), ("assistant", f"The answer for {argument} is: {result}")]
    if rng.random() < .15:  # tools offered, none needed
        country = rng.choice(list(CAPITALS))
        turns = [("user", f"What is the capital of {country}?"),
                 ("assistant", f"The capital of {country} is {CAPITALS[country]}.")]
    return system, [tool_definition(name) for name in offered], turns


def tool_result(rng, tool):
    """What the tool answers. The results of all tools are drawn each time: see the top of the file."""
    weather = f"{rng.randint(-9, 39)} degrees and {rng.choice(['sunny', 'cloudy', 'rainy', 'windy'])}"
    return {
        "get_weather": weather,
        "get_current_weather": weather,
        "get_time": f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
        "get_population": f"{rng.randint(1, 999)} million",
        "search": " ".join(rng.choice(WORDS) for _ in range(4)),
    }[tool]


def tool_definition(name):
    description, parameter, parameter_description, kind = TOOLS[name]
    return {"type": "function", "function": {"name": name, "description": description, "parameters": {
        "type": "object", "properties": {parameter: {"type": kind, "description": parameter_description}},
        "required": [parameter]}}}


def tell_story(rng, system):
    question = rng.choice(["Tell me a story.", "Tell me a story", "Write a story.",
                           "Write a short story about friends."])
    return system, None, [("user", question), ("assistant", story(rng))]


def story(rng):
    a, b = rng.sample(NAMES, 2)
    pick = rng.choice
    opening = (f"Once upon a time, {a} lived in a {pick(['small', 'quiet', 'bright', 'cold', 'happy'])} "
               f"{pick(['village', 'city', 'forest', 'valley', 'house'])}.")
    middle = [
        f"Every day {a} walked to the {pick(['river', 'harbor', 'bridge', 'mountain', 'garden'])} "
        f"to look for a {pick(WORDS)}.",
        f"One day {a} met {b}, who had a {pick(['red', 'blue', 'green', 'silver', 'gold'])} {pick(WORDS)}.",
        f'"Where are you going?" asked {b}.',
        f'"I am going to the {pick(["tower", "island", "meadow", "forest"])}," said {a}.',
        f"They found a {pick(WORDS)} under a {pick(['tree', 'stone', 'bridge', 'candle'])}.",
        f"{b} was {pick(['brave', 'happy', 'gentle', 'quiet'])}, "
        f"and {a} was {pick(['brave', 'happy', 'gentle', 'quiet'])} too.",
        f"A {pick(['wolf', 'bear', 'fox', 'owl', 'crow', 'swan'])} gave them "
        f"{pick(['bread', 'honey', 'an apple', 'a letter', 'a key'])}.",
    ]
    rng.shuffle(middle)
    closing = f"In the end, {a} and {b} went home and were friends for ever."
    return " ".join([opening] + middle[:rng.randint(3, 7)] + [closing])


def remember(rng, system):
    name = rng.choice(NAMES)
    if rng.random() < .5:
        between = [("user", "What is the capital of France?"), ("assistant", "The capital of France is Paris.")]
    else:
        between = [("user", "What is 2 + 3?"), ("assistant", "5")]
    return system, None, [("user", f"My name is {name}."), ("assistant", f"Hello, {name}!"), *between,
                          ("user", "What is my name?"), ("assistant", f"Your name is {name}.")]


TASKS = [  # up to which draw of 0..1 a task is taken
    (.20, count), (.40, repeat), (.58, look_up), (.66, add), (.72, capital), (.77, fact), (.80, spell),
    (.85, answer_in_json), (.93, call_tool), (.97, tell_story), (1., remember)]


# ---- documents

def fill_in_the_middle(rng):
    """(before, after, what stands between them)"""
    name, expression = rng.choice(FIM_FUNCTIONS)
    x, y = rng.sample("a b c n m x y".split(), 2)
    expression = expression.replace("a", "\0").replace("b", y).replace("\0", x)
    after = "\n    return result\n" if rng.random() < .7 else ""
    return f"def {name}({x}, {y}):\n", after, f"    result = {expression}"


def render(system, tools, turns):
    """A conversation as TEMPLATE writes it: [(text, whether it is an answer), …]."""
    parts = []
    if system or tools:
        text = "<|im_start|>system\n" + (system or "")
        if tools:
            listing = "".join("\n" + json.dumps(tool) for tool in tools)
            text += ("\n\n" if system else "") + "# Tools\n<tools>" + listing + TOOLS_FOOTER
        parts.append((text + "<|im_end|>\n", False))
    for role, text in turns:
        if role == "tool":
            parts.append((f"<|im_start|>user\n<tool_response>\n{text}\n</tool_response><|im_end|>\n", False))
        elif role == "user":
            parts.append((f"<|im_start|>user\n{text}<|im_end|>\n", False))
        else:
            before = "<|im_start|>assistant\n"
            if text.startswith("<think>\n"):
                before += "<think>\n"
                text = text[len("<think>\n"):]
            parts += [(before, False), (text + "<|im_end|>", True), ("\n", False)]
    return parts


def thought_before(turns):
    """What a thinking cria thinks before its last answer."""
    question = [text for role, text in turns if role != "assistant"][-1]
    answer = turns[-1][1]
    if answer.startswith("<tool_call>"):
        name = json.loads(answer.split("\n")[1])["name"]
        return f"I use the tool {name}."
    for word, thought in (("list.", "I look it up in the list."), ("ount", "The user wants me to count."),
                          ("epeat", "The user wants me to repeat."), ("exactly", "The user wants me to repeat."),
                          ("JSON", "The user wants JSON."), ("story", "The user wants a story."),
                          ("my name", "I remember the name."), ("pell", "The user wants me to spell.")):
        if word in question:
            return thought
    return "I have the answer."


def document(rng):
    """One document of the corpus: [(text, whether it is an answer and so what is learned), …]."""
    if rng.random() < .02:
        before, after, middle = fill_in_the_middle(rng)
        return [(f"<|fim_prefix|>{before}<|fim_suffix|>{after}<|fim_middle|>", False),
                (middle + "<|endoftext|>", True)]
    draw = rng.random()
    system = rng.choice(SYSTEMS) if rng.random() < .3 else None
    task = next(task for limit, task in TASKS if draw < limit)
    system, tools, turns = task(rng, system)
    if rng.random() < .3 and not any("<think>" in text for _, text in turns):
        turns[-1] = ("assistant", f"<think>\n{thought_before(turns)}\n</think>\n\n{turns[-1][1]}")
    return render(system, tools, turns)
