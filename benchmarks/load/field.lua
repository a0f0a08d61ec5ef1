-- Requests to every scripted model at random, of both endpoints, streamed and whole; models are wrk's arguments.
local bodies = {}

function init(arguments)
  math.randomseed(1)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for _, model in ipairs(arguments) do
    for _, path in ipairs({"/v1/chat/completions", "/v1/messages"}) do
      for _, stream in ipairs({"true", "false"}) do
        bodies[#bodies + 1] = wrk.format(nil, path, nil, string.format(
          '{"model":"%s","max_tokens":1000,"stream":%s,"messages":[{"role":"user","content":"hello there"}]}', model, stream))
      end
    end
  end
end

function request()
  return bodies[math.random(#bodies)]
end
