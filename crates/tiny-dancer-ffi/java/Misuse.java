import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Misuse ARTIFACT: what a program in Java may do wrong, and closing while others ask. */
final class Misuse {
    private static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    private static TinyDancer.Refused refused(Runnable call) {
        try {
            call.run();
        } catch (TinyDancer.Refused error) {
            return error;
        }
        throw new AssertionError("not refused");
    }

    public static void main(String[] arguments) throws Exception {
        byte[] artifact = Files.readAllBytes(Path.of(arguments[0]));
        var router = new TinyDancer.Router(artifact, null, "", "{}");
        String expected = router.decide("\"Why?\"", "");
        check(router.decide("\"\uD83D\uDE00 \u0000?\"".replace("\u0000", "\\u0000"), "").contains("model"), "four bytes");
        check(refused(() -> router.decide("\"\uD83D\"", "")).code.equals("RequestInvalid"), "half a pair");
        check(refused(() -> router.decide("\"a\u0000b\"", "")).code.equals("RequestInvalid"), "a zero");
        check(refused(() -> router.decide("", "")).field.equals("request"), "nothing");
        check(refused(() -> router.reload(new byte[] {1, 2, 3})).code.equals("ArtifactInvalid"), "no artifact");
        check(refused(() -> new TinyDancer.Router(null, null, "", null)).code.equals("ArtifactInvalid"), "none");
        check(refused(() -> new TinyDancer.Agents(-1)).field.equals("half_life"), "negative");
        check(router.status().contains("\"code\":\"ArtifactInvalid\""), "why the reload failed");

        List<Thread> asking = new ArrayList<>();
        List<Throwable> failures = new ArrayList<>();
        for (int number = 0; number < 8; number++) {
            asking.add(Thread.ofVirtual().start(() -> {
                try {
                    while (true) check(router.decide("\"Why?\"", "").equals(expected), "another answer");
                } catch (IllegalStateException closed) {
                    // As it should.
                } catch (Throwable error) {
                    synchronized (failures) {
                        failures.add(error);
                    }
                }
            }));
        }
        for (int reload = 0; reload < 20; reload++) router.reload(artifact);
        router.close();
        router.close();
        for (Thread thread : asking) thread.join();
        check(failures.isEmpty(), failures.toString());
        System.out.println("sound");
    }
}
