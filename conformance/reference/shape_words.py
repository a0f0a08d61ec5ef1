"""Words by which shapes are known (the engine's ``shape/words.rs`` and ``shape/preamble.rs``)."""

from __future__ import annotations

SHAPES: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "asks": (
            "q question questions problem exercise query prompt task instruction instructions input "
            "user human customer example context passage text premise frage pregunta domanda"
        ),
        "answers": (
            "a answer answers solution response output assistant ai bot reply model antwort respuesta "
            "réponse risposta"
        ),
        "choices": ("choices options alternatives answers candidates opts"),
        "option": ("option choice alternative"),
        "prose": (
            "the a an this that these those of to in and or for on with as by from my our his her its "
            "their no any some each every is was are were one following other main real big same"
        ),
        "kind": (
            "final correct your best right expected possible new next test sample user current given "
            "available multiple answer"
        ),
        "follow": (
            "yes yeah yep yup no nope ok okay k sure fine good great right alright thanks thank "
            "please pls go on ahead continue proceed next more again do did done make try run start "
            "keep finish redo repeat retry explain elaborate expand detail details summarise "
            "summarize shorten shorter longer better clearer simpler deeper further why how so then "
            "and but or what about else another both all first second third last previous above same "
            "correct exactly agreed perfect cool nice now just let's lets let sounds looks i you we "
            "me us it that this them those these is are was be the a an of to in for with as at now "
            "sounds like works work way would could can should will want need love that's it's i'm "
            "there here step steps part answer question plan out up too also not don't stop wait ja "
            "nein weiter bitte gut oui non continuez merci sí si sigue gracias adelante 继 续 好 的 是 请 谢 "
            "はい 続 け て"
        ),
        "opens": (
            "you act i i'd please answer respond reply read below here choose select pick think let's "
            "let thank thanks hello hi hey dear solve this for do be explain show give provide return "
            "output use your remember as keep always never confidential all generated sent any by "
            "make ensure end write the only in examples first work take now i'm"
        ),
        "notice": ("note important disclaimer warning reminder system notice attention ps caution"),
        "mute": ("role type id uid uuid idx index lang language model source dataset"),
        "tag": (
            "question questions query prompt user task problem input text instruction instructions "
            "context options option choices choice answer answers passage document system example "
            "examples item request message content exercise"
        ),
        "is": ("is are"),
        "system": ("system"),
    }.items()
}

# How preamble begins, token by token; those of the second list wherever they stand behind options.
_OPENINGS = (
    "you are a|you are an|you are the|you are now|you are helpful|you are going to|"
    "you are expert|you will be|act as|please answer|please respond|please reply|please read|"
    "please note|please select|please choose|please pick|please provide|please think|"
    "please make|please be|please ensure|please consider|please solve|please only|"
    "please please use|please give|please keep|please remember|please explain your|please show|"
    "answer the|answer this|answer these|answer with|answer in|answer only|answer as|answer by|"
    "answer to the best|answer carefully|answer briefly|answer concisely|respond with|"
    "respond to|respond in|respond only|reply with|reply in|reply only|read the following|"
    "read this|read the question|read carefully|choose the|choose one|choose from|select the|"
    "select one|pick the|pick one|think step|think carefully|think about|let's think|"
    "let's work|let us think|let's solve|this is a test|this is an exam|this is a question|"
    "this message|this prompt|this request|this email|this response|for educational|"
    "for research|for informational|this question refers|do not share|do not reveal|"
    "do not explain|do not include|do not use|do not mention|do not answer|do not repeat|"
    "do not make|do not add|be concise|be brief|be careful|be precise|be helpful|be polite|"
    "be accurate|explain your|show your|give your|give only|give a short|provide your|"
    "provide only|provide a short|return only|return your|return the answer|output only|"
    "output your|your answer|your response|remember to|remember that|remember ,|as an ai|"
    "as a helpful|as an expert|keep your|keep in mind|keep it|always answer|always be|"
    "always respond|never share|never reveal|never answer|confidential|all rights|all answers|"
    "generated by|generated with|sent from|any information|any advice|any opinions|by using|"
    "by continuing|by reading|make sure|ensure that|ensure your|end your|end with|"
    "write your answer|write only|write the answer|the following are|the following is a|"
    "the following question|the following questions|the answer should|only answer|only respond|"
    "only reply|in this task|in the following|examples :|first , think|work through|"
    "take a deep|take your time|now answer|i need help with the following|i have a question|"
    "you are given a question|you are given a multiple|you must answer|you must respond|"
    "you must choose|you should answer|you should respond|i want you to act|"
    "i want you to answer|i want you to respond|i would like you to answer|"
    "i'd like you to answer|i need you to answer|your task is to answer|your task is to choose|"
    "your task is to select|your job is to answer|your goal is to answer|below is a question|"
    "below is a multiple|below is an instruction|here is a question|here is a multiple"
)
# Preamble only where the sentence is short.
_BRIEF = (
    "you are given|you must|you should|you may|i want you to|i would like you to|"
    "i'd like you to|i need you to|your task is|your job is|your goal is|i am a|i am not|"
    "i'm not|hello|hi|hey|dear|thank you|thanks|here is|here are|below is|below are|"
    "solve the following|solve this|use the following|use only|give the|provide the|output the|"
    "this is for|always|all information|all content|do not"
)
_TAILS = (
    "answer with|answer the question|answer using|answer only|respond with|respond only|"
    "reply with|reply only|please answer|please respond|please select|please choose|"
    "please provide|please think|please explain|please only|think step|let's think|choose the|"
    "select the|pick the|output only|return only|provide your|provide only|explain your|give your|"
    "only answer|only respond|do not explain|write your|thank you|thanks"
)
OPENINGS = tuple(tuple(opening.split(" ")) for opening in _OPENINGS.split("|"))
BRIEF = tuple(tuple(opening.split(" ")) for opening in _BRIEF.split("|"))
TAILS = tuple(tuple(opening.split(" ")) for opening in _TAILS.split("|"))
