import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.IntConsumer;

/** Speed ARTIFACT ENCODER REQUESTS VECTORS ROUNDS: what examples/engine_speed.rs measures, from Java. REQUESTS is
 * netstrings of JSON. */
final class Speed {
    private static final int RANKINGS = 100, K = 10;
    /** Rounds after which the virtual machine has compiled what runs often. */
    private static final int FIRST = 200;

    public static void main(String[] arguments) throws Exception {
        int rounds = Integer.parseInt(arguments[4]);
        List<String> requests = netstrings(read(arguments[2]));
        double decide, rank;
        try (var encoder = new TinyDancer.Encoder(read(arguments[1]));
                var router = new TinyDancer.Router(read(arguments[0]), encoder, "", null)) {
            decide = best(rounds, requests.size(), call -> router.decide(requests.get(call), ""));
        }
        var floats = ByteBuffer.wrap(read(arguments[3])).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
        float[] numbers = new float[floats.remaining()];
        floats.get(numbers);
        int dimensions = (int) numbers[0];
        float[] query = Arrays.copyOfRange(numbers, 1, 1 + dimensions);
        try (var candidates = new TinyDancer.Candidates(null, null, null)) {
            candidates.addVectors(Arrays.copyOfRange(numbers, 1 + dimensions, numbers.length), dimensions);
            rank = best(rounds, RANKINGS, call -> candidates.rankVector(query, K));
        }
        System.out.printf(Locale.ROOT, "{\"decide_us\": %.4f, \"rank_us\": %.4f}%n", decide, rank);
    }

    /** The microseconds a call takes in the best round. */
    private static double best(int rounds, int calls, IntConsumer work) {
        double least = Double.POSITIVE_INFINITY;
        for (int round = 0; round < FIRST + rounds; round++) {
            long begun = System.nanoTime();
            for (int call = 0; call < calls; call++) work.accept(call);
            double taken = (System.nanoTime() - begun) / 1000.0 / calls;
            if (round >= FIRST) least = Math.min(least, taken);
        }
        return least;
    }

    private static byte[] read(String path) throws Exception {
        return Files.readAllBytes(Path.of(path));
    }

    private static List<String> netstrings(byte[] data) {
        List<String> texts = new ArrayList<>();
        for (int at = 0; at < data.length; ) {
            int length = 0;
            for (; data[at] != ':'; at++) length = length * 10 + data[at] - '0';
            texts.add(new String(data, ++at, length, StandardCharsets.UTF_8));
            at += length;
        }
        return texts;
    }
}
