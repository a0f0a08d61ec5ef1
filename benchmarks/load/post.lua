-- Requests that differ in their prompt, of about thirty tokens; the model is wrk's argument.
local prompt = "please tell me what the capital city of France is and why it became the capital, in about three short "
  .. "sentences, and mention the river there."
local bodies, at = {}, 0

function init(arguments)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for number = 1, 512 do
    bodies[number] = wrk.format(nil, nil, nil, string.format(
      '{"model":"%s","messages":[{"role":"user","content":"Order %d: %s"}]}', arguments[1] or "auto", number, prompt))
  end
end

function request()
  at = at % #bodies + 1
  return bodies[at]
end
