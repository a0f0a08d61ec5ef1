"""Words by which shapes are known (the engine's ``shape/words.rs`` and ``shape/preamble.rs``)."""

from __future__ import annotations

SHAPES: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "asks": (
            "q question questions problem exercise query prompt task instruction instructions input "
            "user human example context passage text premise frage pregunta domanda"
        ),
        "stands": ("q question questions problem exercise query prompt frage pregunta domanda"),
        "speaks": ("user human example"),
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
        "requests": (
            "what which who whom whose when where why how is are do does did can could will would find "
            "compute calculate determine evaluate simplify solve prove show derive explain describe "
            "define compare discuss list name give state write implement create build make design fix "
            "debug refactor tell estimate suppose identify predict choose convert draw plan"
        ),
        "notice": ("note important disclaimer warning reminder system notice attention ps caution"),
        "mute": ("id uid uuid idx index"),
        "key": (
            "q question questions query prompt text content messages message role type task input "
            "instruction instructions context passage options choices alternatives candidates opts "
            "problem exercise user system id uid uuid idx index"
        ),
        "plain": ("user human text message question"),
        "tag": (
            "question questions query prompt task problem instruction instructions context options "
            "choices passage exercise"
        ),
        "inner": (
            "option choice answer answers input text document system user example examples item request "
            "message content"
        ),
        "is": ("is are"),
        "talk": (
            "above below conversation conversations dialogue dialog transcript interview chat "
            "discussion summarise summarize summary summarised summarized translate rewrite paraphrase "
            "pattern rule grade earlier previous speaker speakers customer draft "
            "reply replies email emails e-mail mail mails"
        ),
        "points": (
            "these those above equation equations pattern sequence repeat repeated repeats occur occurs "
            "appear appears words"
        ),
        "refers": (
            "translate translation summarise summarize summary rewrite rephrase paraphrase reword "
            "proofread edit improve shorten polish grammar clause clauses email e-mail letter "
            "disclaimer conversation dialogue transcript interview chat message messages sentence "
            "sentences paragraph paragraphs text tone sentiment spam phishing classify wording prompt "
            "prompts instruction instructions draft notice repeat quote extract spell misspelled mean "
            "means meaning"
        ),
        "form": ("json text txt markdown md plain plaintext xml"),
        "harness": (
            "system-reminder system_reminder environment_details environment_context user-prompt- "
            "submit-hook local-command-stdout local-command-stderr local-command-caveat command-name "
            "command-message command-args bash-stdout bash-stderr tool_result function_results task- "
            "notification ide_opened_file ide_selection"
        ),
        "persona": ("assistant expert tutor teacher professor model ai bot chatbot agent helper specialist"),
        "manner": (
            "a an the this that these those it its you your i me my we us our am is are was be been do "
            "does don't not no to of in on at by for from with without within as and or but if when "
            "which who what how only just also any all each every one ones other others more than then "
            "so such too very can could may might must shall should will would have has had let let's "
            "there here about into out up before after below above following either both same own first "
            "next always never please take give provide show return output put write use read make keep "
            "sure ensure follow remember try end begin start finish mind time now want need like asked "
            "ask given using based best most alternative alternatives letter careful accurate "
            "accurately precise precisely correct correctly appropriate problem problems test exam "
            "multiple single final boxed deep breath work through thoroughly user"
        ),
        "core": (
            "answer answers answering answered question questions respond response responses reply "
            "replies choose choosing select selecting pick option options choice choices think thinking "
            "reasoning step steps concise concisely brief briefly carefully helpful honest polite solve "
            "thank thanks hello hi hey instruction instructions"
        ),
        "tails": (
            "answer respond reply please select choose pick think let's output return only provide "
            "explain give write do thank thanks"
        ),
        "tells": ("please you your following below let let's only always never"),
        "yours": ("explain justify write state show support"),
        "denies": ("not don't never please"),
        "boiler": (
            "educational informational information purpose purposes constitute constitutes professional "
            "advice legal medical financial confidential privileged intended recipient recipients "
            "content contents produced generated created automatically automated machine ai model "
            "models tool error errors mistake mistakes inaccuracies accuracy guarantee guaranteed "
            "guarantees warranty warranties responsibility responsible liable liability share shared "
            "distribute distributed disclose disclosed copy copied forward forwarded reproduction "
            "outside inside organisation organization company internal external terms conditions policy "
            "policies privacy rights reserved copyright email e-mail message messages text texts line "
            "lines document prompt request conversation sent received contact immediately delete notify "
            "sender reader readers reads agree agrees agreeing accept accepts acknowledge acknowledges "
            "consent understand notice important reminder disclaimer express implied risk full takes "
            "contain contains happen happens opinion opinions view views author authors necessarily "
            "reflect employer consult qualified seek solely general whoever anyone advance regards help "
            "appreciate appreciated phone iphone mobile research entertainment only reliance rely "
            "damages loss permission prior written consent verify verified affiliated official"
        ),
        "leans": (
            "it they them he she him her his hers its their theirs this that these those same again here "
            "such former latter my our mine ours"
        ),
        "counts": ("parse parses parsing count counts counting sentence sentences grammar grammatical"),
        "noise": (
            "command-args command-message command-name environment_context environment_details "
            "ide_opened_file local-command-caveat system-reminder system_reminder task-notification "
            "user-prompt-submit-hook"
        ),
        "follow": (
            "yes yeah yep yup no nope ok okay k sure fine good great right alright thanks thank please "
            "pls go on ahead continue proceed next more again do did done make try run start keep "
            "finish redo repeat retry explain elaborate expand detail details summarise summarize "
            "shorten shorter longer better clearer simpler deeper further why how so then and but or "
            "what about else another both all first second third last previous above same correct "
            "exactly agreed perfect cool nice now just let's lets let sounds looks i you we me us it "
            "that this them those these is are was be the a an of to in for with as at now sounds like "
            "works work way would could can should will want need love that's it's i'm there here step "
            "steps part answer question plan out up too also not don't stop wait ja nein weiter bitte "
            "gut oui non continuez merci sí si sigue gracias adelante 继 续 好 的 是 请 谢 はい 続 け て"
        ),
    }.items()
}
