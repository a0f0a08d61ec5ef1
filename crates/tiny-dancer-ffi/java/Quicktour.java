import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Quicktour FOLDER_OF_ARTIFACTS: loads the default artifact, decides a request, ranks candidates, chooses an agent. */
final class Quicktour {
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);

        // A router from the default artifact, and the encoder it was trained with.
        byte[] artifact = Files.readAllBytes(folder.resolve("default.safetensors"));
        try (var encoder = new TinyDancer.Encoder(Files.readAllBytes(folder.resolve("encoder.safetensors")));
                var router = new TinyDancer.Router(artifact, encoder, "", "{}")) {
            String request = "\"Prove that the square root of 2 is irrational.\"";
            String decision = router.decide(request, "");
            System.out.println("model: " + field(decision, "model"));
            System.out.println("reason: " + field(decision, "reason"));

            // An error says what was wrong, and what to do about it.
            try {
                router.decide(request, "{\"max_cost\": -1}");
            } catch (TinyDancer.Refused refused) {
                System.out.println("refused: " + refused.getMessage());
            }
        }

        // Candidates, by their embeddings alone.
        List<String> ids = List.of("tea", "train", "bus");
        try (var candidates = new TinyDancer.Candidates(null, null, null)) {
            candidates.addVectors(new float[] {1, 0, 0, 0, 1, 0, 0, 0.8f, 0.6f}, 3);
            for (var one : candidates.rankVector(new float[] {0, 0.9f, 0.1f}, 2)) {
                System.out.printf(Locale.ROOT, "candidate: %s %.2f%n", ids.get(one.row()), one.score());
            }
        }

        // Agents.
        try (var agents = new TinyDancer.Agents(Double.NaN)) {
            agents.put("""
                    [{"name": "coder", "capabilities": ["code"], "quality": 0.9},
                     {"name": "writer", "capabilities": ["prose"], "quality": 0.95}]""");
            System.out.println("agent: " + field(agents.choose("{\"required_capabilities\": [\"code\"]}"), "agent"));
        }
    }

    /** The first text of this name in JSON; a program that does more with answers has a parser. */
    private static String field(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\":\"([^\"]*)\"").matcher(json);
        if (!found.find()) throw new IllegalStateException(json);
        return found.group(1);
    }
}
