import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Replay CASES ANSWERS: what tests/integration/doors.py asks every binding, from Java. The form is that of c/replay.c. */
final class Replay {
    private final byte[] cases;
    private int at;

    /** One encoder, and what was made last with it. */
    private static final class Instance {
        TinyDancer.Encoder encoder;
        TinyDancer.Held object;
    }

    private Replay(byte[] cases) {
        this.cases = cases;
    }

    private String next() {
        int end = at;
        while (cases[end] != ':') end++;
        int length = Integer.parseInt(new String(cases, at, end - at, StandardCharsets.US_ASCII));
        at = end + 1 + length;
        return new String(cases, end + 1, length, StandardCharsets.UTF_8);
    }

    private byte[] argument(String before) throws Exception {
        String kind = next(), text = next();
        return switch (kind) {
            case "a" -> before.getBytes(StandardCharsets.UTF_8);
            case "f" -> Files.readAllBytes(Path.of(text));
            default -> text.getBytes(StandardCharsets.UTF_8);
        };
    }

    private static String perform(Instance instance, String operation, byte[] first, byte[] second) {
        String one = new String(first, StandardCharsets.UTF_8), two = new String(second, StandardCharsets.UTF_8);
        TinyDancer.Held made = switch (operation) {
            case "router" -> new TinyDancer.Router(first, instance.encoder, two, null);
            case "routes" -> new TinyDancer.Routes(first, instance.encoder);
            case "tools" -> new TinyDancer.Tools(first, instance.encoder);
            case "agents" -> new TinyDancer.Agents(one.isEmpty() ? Double.NaN : Double.parseDouble(one));
            case "candidates" -> new TinyDancer.Candidates(first, instance.encoder, null);
            case "tasks" -> new TinyDancer.Tasks(first, instance.encoder);
            default -> null;
        };
        if (made != null) {
            if (instance.object != null) instance.object.close();
            instance.object = made;
            return "";
        }
        return switch (operation) {
            case "decide" -> ((TinyDancer.Router) instance.object).decide(one, two);
            case "route" -> ((TinyDancer.Routes) instance.object).decide(one, two);
            case "addTools" -> ((TinyDancer.Tools) instance.object).add(one);
            case "select" -> ((TinyDancer.Tools) instance.object).select(one);
            case "putAgents" -> {
                ((TinyDancer.Agents) instance.object).put(one);
                yield "";
            }
            case "choose" -> ((TinyDancer.Agents) instance.object).choose(one);
            case "observe" -> ((TinyDancer.Agents) instance.object).observe(one, two);
            case "addCandidates" -> {
                ((TinyDancer.Candidates) instance.object).add(one, null);
                yield "";
            }
            case "rank" -> ((TinyDancer.Candidates) instance.object).rank(one, null);
            case "classify" -> ((TinyDancer.Tasks) instance.object).classify(one);
            default -> throw new IllegalArgumentException(operation);
        };
    }

    public static void main(String[] arguments) throws Exception {
        Replay replay = new Replay(Files.readAllBytes(Path.of(arguments[0])));
        Map<String, Instance> instances = new HashMap<>();
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (int left = Integer.parseInt(replay.next()); left > 0; left--) {
            String path = replay.next();
            Instance instance = instances.computeIfAbsent(path, unused -> new Instance());
            if (instance.encoder == null && !path.isEmpty()) {
                instance.encoder = new TinyDancer.Encoder(Files.readAllBytes(Path.of(path)));
            }
            int steps = Integer.parseInt(replay.next());
            List<String> answers = new ArrayList<>();
            boolean refused = false;
            for (int step = 0; step < steps; step++) {
                String operation = replay.next();
                byte[] first = replay.argument(answers.isEmpty() ? "" : answers.getLast());
                byte[] second = replay.argument("");
                if (refused) continue;
                try {
                    answers.add(perform(instance, operation, first, second));
                } catch (TinyDancer.Refused error) {
                    answers.add(error.json);
                    refused = true;
                }
            }
            put(out, Integer.toString(answers.size()));
            for (String answer : answers) put(out, answer);
        }
        Files.write(Path.of(arguments[1]), out.toByteArray());
    }

    private static void put(ByteArrayOutputStream out, String text) throws Exception {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        out.write((bytes.length + ":").getBytes(StandardCharsets.US_ASCII));
        out.write(bytes);
    }
}
