import java.net.URL;

/** Prints what the URL in its first argument leads to. */
class Ask {
    public static void main(String[] words) throws Exception {
        System.out.println(new String(new URL(words[0]).openStream().readAllBytes()));
    }
}
